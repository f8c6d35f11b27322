"""A small charm on the other side of our relations, run by the real ops, with the real cosl.

Reads one JSON object: for each endpoint of the charm, what the other side has published as `app` and as `units` by number.
Prints one JSON object: what the charm `wrote` to each endpoint, and what it `understood` of it.
"""

import datetime
import json
import pathlib
import sys

import ops
import yaml
from charmlibs.interfaces.certificate_transfer import CertificateTransferProvides
from charmlibs.interfaces.tls_certificates import (
    Certificate,
    CertificateRequestAttributes,
    PrivateKey,
    ProviderCertificate,
    TLSCertificatesProvidesV4,
)
from charmlibs.interfaces.tracing import TracingEndpointProvider
from cosl import GrafanaDashboard, JujuTopology
from cosl.interfaces.datasource_exchange import DatasourceExchange
from cosl.rules import AlertRules, generic_alert_groups
from ops import testing

META = {
    "name": "peer-k8s",
    "provides": {
        "metrics": {"interface": "prometheus_scrape"},
        "alerting": {"interface": "alertmanager_dispatch"},
        "authority": {"interface": "tls-certificates"},
        "authorities": {"interface": "certificate_transfer"},
        "spans": {"interface": "tracing"},
        "queries": {"interface": "tracing"},
        "logs": {"interface": "loki_push_api"},
        "receiver": {"interface": "prometheus_remote_write"},
        "gateway": {"interface": "ingress_per_unit"},
        "tiles": {"interface": "catalogue"},
    },
    "requires": {
        "scrape": {"interface": "prometheus_scrape"},
        "write": {"interface": "prometheus_remote_write"},
        "source": {"interface": "grafana_datasource"},
        "dashboard": {"interface": "grafana_dashboard"},
        "datasources": {"interface": "grafana_datasource_exchange"},
        "api": {"interface": "prometheus_api"},
    },
}
RULES = pathlib.Path(__file__).parent / "rules"

understood = {}


class Peer(ops.CharmBase):
    def __init__(self, framework):
        super().__init__(framework)
        self.topology = JujuTopology.from_charm(self)
        self.signer = TLSCertificatesProvidesV4(self, "authority")
        self.sender = CertificateTransferProvides(self, "authorities")
        self.tracing = {name: TracingEndpointProvider(self, relation_name=name) for name in ["spans", "queries"]}
        for endpoint in [*META["provides"], *META["requires"]]:
            handler = getattr(self, "_" + endpoint)
            framework.observe(self.on[endpoint].relation_changed, handler)

    def _rules(self):
        rules = AlertRules(query_type="promql", topology=self.topology)
        rules.add_path(RULES, recursive=True)
        return rules

    def _metrics(self, event):
        rules = self._rules()
        rules.add(generic_alert_groups.application_rules, group_name_prefix=self.topology.identifier)
        jobs = [
            {"job_name": "peer", "static_configs": [{"targets": ["*:1"], "labels": {"site": "oslo"}}]},
            {"metrics_path": "/more", "static_configs": [{"targets": ["127.0.0.1:2"]}], "scrape_interval": "15s"},
        ]
        app, unit = event.relation.data[self.app], event.relation.data[self.unit]
        app["scrape_metadata"] = json.dumps(self.topology.as_dict())
        app["scrape_jobs"] = json.dumps(jobs)
        app["alert_rules"] = json.dumps(rules.as_dict())
        unit["prometheus_scrape_unit_address"] = "127.0.0.1"
        unit["prometheus_scrape_unit_name"] = self.unit.name
        # What the other side thinks of it.
        understood["metrics"] = json.loads(event.relation.data[event.app].get("event", "null"))

    def _alerting(self, event):
        event.relation.data[self.unit]["url"] = "http://127.0.0.1:3/peer"

    def _scrape(self, event):
        app = event.relation.data[event.app]
        topology = JujuTopology.from_dict(json.loads(app["scrape_metadata"]))
        groups = json.loads(app["alert_rules"])["groups"]
        understood["scrape"] = {
            "identifier": topology.identifier,
            "unit": topology.unit,
            "jobs": json.loads(app["scrape_jobs"]),
            "groups": [group["name"] for group in groups],
            "labels": [rule["labels"] for group in groups for rule in group["rules"]],
            "addresses": [event.relation.data[unit]["prometheus_scrape_unit_address"] for unit in event.relation.units],
        }

    def _write(self, event):
        rules = self._rules()
        rules.add(generic_alert_groups.aggregator_rules, group_name_prefix=self.topology.identifier)
        event.relation.data[self.app]["alert_rules"] = json.dumps(rules.as_dict())
        bags = [event.relation.data[unit] for unit in event.relation.units]
        understood["write"] = [json.loads(bag["remote_write"])["url"] for bag in bags if "remote_write" in bag]

    def _source(self, event):
        data = json.loads(event.relation.data[event.app].get("grafana_source_data", "null"))
        hosts = {unit.name: event.relation.data[unit].get("grafana_source_host") for unit in event.relation.units}
        understood["source"] = {"data": data, "hosts": hosts}
        app = event.relation.data[self.app]
        app["grafana_uid"] = "grafana-1"
        app["datasource_uids"] = json.dumps({unit: f"uid-of-{unit}" for unit in hosts})

    def _dashboard(self, event):
        templates = json.loads(event.relation.data[event.app]["dashboards"])["templates"]
        contents = [GrafanaDashboard(template["content"])._deserialize() for template in templates.values()]
        understood["dashboard"] = {
            "titles": [content["title"] for content in contents],
            "topologies": [template["juju_topology"] for template in templates.values()],
        }

    def _datasources(self, event):
        exchange = DatasourceExchange(self, provider_endpoint=None, requirer_endpoint="datasources")
        understood["datasources"] = [dict(source) for source in exchange.received_datasources]
        exchange.publish([{"type": "loki", "uid": "loki-1", "grafana_uid": "grafana-1"}])

    def _api(self, event):
        understood["api"] = dict(event.relation.data[event.app])

    def _authority(self, event):
        year = datetime.timedelta(days=365)
        key = PrivateKey.generate()
        ca = Certificate.generate_self_signed_ca(CertificateRequestAttributes(common_name="peer-ca"), key, year)
        requests = self.signer.get_certificate_requests()
        for request in requests:
            csr = request.certificate_signing_request
            certificate = csr.sign(ca, key, year)
            signed = ProviderCertificate(event.relation.id, certificate, csr, ca, [certificate, ca])
            self.signer.set_relation_certificate(signed)
        understood["authority"] = [
            {
                "name": request.certificate_signing_request.common_name,
                "ips": sorted(map(str, request.certificate_signing_request.sans_ip or [])),
                "dns": sorted(request.certificate_signing_request.sans_dns or []),
                "is_ca": request.is_ca,
            }
            for request in requests
        ]

    def _authorities(self, event):
        key = PrivateKey.generate()
        attributes = CertificateRequestAttributes(common_name="another-ca")
        ca = Certificate.generate_self_signed_ca(attributes, key, datetime.timedelta(days=365))
        self.sender.add_certificates({str(ca)})

    def _spans(self, event):
        understood["spans"] = sorted(self.tracing["spans"].requested_protocols())
        self.tracing["spans"].publish_receivers([("otlp_http", "http://127.0.0.1:4318")])

    def _queries(self, event):
        understood["queries"] = sorted(self.tracing["queries"].requested_protocols())
        self.tracing["queries"].publish_receivers([("zipkin", "http://127.0.0.1:9411"), ("otlp_grpc", "127.0.0.1:4317")])

    def _logs(self, event):
        event.relation.data[self.unit]["endpoint"] = json.dumps({"url": "http://127.0.0.1:4/loki/api/v1/push"})
        app = event.relation.data[event.app]
        if "metadata" in app:
            topology = JujuTopology.from_dict(json.loads(app["metadata"]))
            understood["logs"] = {"unit": topology.unit, "rules": json.loads(app["alert_rules"])}

    def _receiver(self, event):
        event.relation.data[self.unit]["remote_write"] = json.dumps({"url": "http://127.0.0.1:5/api/v1/write"})
        rules = json.loads(event.relation.data[event.app].get("alert_rules", "{}"))
        _, errors = self._rules().tool.validate_alert_rules(rules) if rules else (True, "")
        names = [rule.get("alert") for group in rules.get("groups", []) for rule in group["rules"]]
        understood["receiver"] = {"errors": errors, "alerts": names}

    def _gateway(self, event):
        bags = [dict(event.relation.data[unit]) for unit in event.relation.units]
        understood["gateway"] = bags
        urls = {bag["name"]: {"url": f"http://gateway/{bag['model']}-{bag['name'].replace('/', '-')}"} for bag in bags if "name" in bag}
        event.relation.data[self.app]["ingress"] = yaml.safe_dump(urls)

    def _tiles(self, event):
        app = dict(event.relation.data[event.app])
        understood["tiles"] = {**app, "api_endpoints": json.loads(app.get("api_endpoints", "{}"))}


def main():
    published = json.load(sys.stdin)
    context = testing.Context(Peer, meta=META, app_name="peer")
    model = testing.Model(name="shop", uuid="12de4fae-06cc-4ceb-9089-567be09fec78")
    wrote = {}
    for endpoint, sides in published.items():
        units = {int(number): bag for number, bag in sides.get("units", {}).items()}
        relation = testing.Relation(
            endpoint, remote_app_name="prometheus", remote_app_data=sides.get("app", {}), remote_units_data=units or {0: {}}
        )
        state = testing.State(leader=True, relations={relation}, model=model)
        after = context.run(context.on.relation_changed(relation, remote_unit=min(units or {0: {}})), state)
        after = after.get_relation(relation.id)
        wrote[endpoint] = {"app": dict(after.local_app_data), "unit": dict(after.local_unit_data)}
    json.dump({"wrote": wrote, "understood": understood}, sys.stdout)


main()
