//! `grafana_datasource_exchange`: peers tell each other as which data sources Grafana knows them, so that one can link to another.

use serde_json::{Value, json};

use crate::bag::{Databag, Relation};
use crate::grafana_datasource::Grafana;
use crate::json::{self, type_name};
use crate::place::located;
use crate::problem::Problem;

/// The name of the interface.
pub const INTERFACE: &str = "grafana_datasource_exchange";

const DATASOURCES: &str = "datasources";

/// A data source in one Grafana.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datasource {
    /// Its uid there.
    pub uid: String,
    /// The id of that Grafana.
    pub grafana_uid: String,
    /// `prometheus`, `loki`, `tempo`, …
    pub kind: String,
}

/// Our application's databag: one entry for each of our units in each of `grafanas`, sorted by uid.
pub fn provider_app_bag(grafanas: &[Grafana]) -> Databag {
    let of_grafana = |grafana: &'_ Grafana| -> Vec<(String, String)> {
        grafana.datasource_uids.values().map(|uid| (uid.clone(), grafana.grafana_uid.clone())).collect()
    };
    let mut uids: Vec<(String, String)> = grafanas.iter().flat_map(of_grafana).collect();
    uids.sort();
    uids.dedup();
    let entry = |(uid, grafana_uid)| json!({"type": "prometheus", "uid": uid, "grafana_uid": grafana_uid});
    let entries: Value = uids.into_iter().map(entry).collect();
    // Written by pydantic over there and not by `json.dumps`: no spaces, nothing escaped.
    Databag::from([(DATASOURCES.to_owned(), entries.to_string())])
}

/// The data sources that the other side of `relation` is, sorted, each once.
pub fn datasources(relation: &Relation) -> (Vec<Datasource>, Vec<Problem>) {
    let (found, problems) = in_bag(&relation.remote.app_bag);
    (found, located(problems, relation))
}

fn in_bag(bag: &Databag) -> (Vec<Datasource>, Vec<Problem>) {
    let problem = |message: String| Problem::new(message).key(DATASOURCES);
    let entries = match json::read(bag, DATASOURCES) {
        Ok(None) => return (Vec::new(), Vec::new()),
        Ok(Some(Value::Array(entries))) => entries,
        Ok(Some(other)) => return (Vec::new(), vec![problem(format!("value is {}, not a list", type_name(&other)))]),
        Err(refused) => return (Vec::new(), vec![refused]),
    };
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (at, entry) in entries.iter().enumerate() {
        let part = |key: &str| entry[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match (part("uid"), part("grafana_uid"), part("type")) {
            (Some(uid), Some(grafana_uid), Some(kind)) => found.push(Datasource { uid, grafana_uid, kind }),
            _ => {
                let message = format!("entry {} needs the texts type, uid and grafana_uid", at + 1);
                problems.push(problem(message).path(&format!("[{at}]")));
            }
        }
    }
    found.sort();
    found.dedup();
    (found, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Side;

    #[test]
    fn what_we_write_we_read() {
        let grafana = Grafana {
            grafana_uid: "g".to_owned(),
            datasource_uids: [("p/0", "b"), ("p/1", "a")].map(|(unit, uid)| (unit.to_owned(), uid.to_owned())).into(),
            app_datasource_uid: None,
            base_url: None,
        };
        let mut bag = provider_app_bag(&[grafana]);
        let mut read = |value: Option<&str>| {
            bag.extend(value.map(|value| (DATASOURCES.to_owned(), value.to_owned())));
            let remote = Side { app_bag: bag.clone(), ..Side::new("tempo") };
            let (endpoint, interface) = ("send-datasource".to_owned(), INTERFACE.to_owned());
            let (found, problems) =
                datasources(&Relation { id: 1, endpoint, interface, local: Side::new("p"), remote });
            (found.into_iter().map(|datasource| datasource.uid).collect::<Vec<_>>(), problems.len())
        };
        assert_eq!(read(None), (vec!["a".to_owned(), "b".to_owned()], 0));
        assert_eq!(
            read(Some(r#"[{"type": "loki", "uid": "x", "grafana_uid": "g"}, {"uid": 7}, 7]"#)),
            (vec!["x".to_owned()], 2)
        );
        assert_eq!(read(Some("{}")), (vec![], 0));
        assert_eq!(read(Some("7")), (vec![], 1));
    }
}
