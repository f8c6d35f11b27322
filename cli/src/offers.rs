//! `relatum offers`

use relatum_agent::control::{ConnectionStatus, OfferList, OfferStatus};

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::state;
use crate::table::Table;

/// Lists what is offered, and who uses it.
pub(crate) async fn run(global: &Global) -> Result<(), CommandFailure> {
    let offers = global.client().offers().await?;
    global.format.print(&offers, tabular)
}

fn tabular(list: &OfferList) -> String {
    let mut table =
        Table::new(&["Offer", "Endpoint", "+URL", "Model", "Status", "~Since", "~Revision", "~>Lag", "~Relation"]);
    for offer in &list.offers {
        let head = |offer: &OfferStatus| [offer.id.clone(), offer.endpoint.clone(), offer.url.clone()];
        if offer.connections.is_empty() {
            table.row(head(offer).into_iter().chain(["-".to_owned(), state("waiting")]));
        }
        for connection in &offer.connections {
            table.row(head(offer).into_iter().chain(cells(connection)));
        }
    }
    if table.is_empty() { "no offers\n".to_owned() } else { table.render() }
}

fn cells(connection: &ConnectionStatus) -> [String; 6] {
    let status = match (connection.connected, connection.up_to_date) {
        (true, true) => state("joined"),
        (true, false) => state("pending"),
        (false, _) => state("lost"),
    };
    let lag = |lag_ms: u64| format!("{:.1}s", lag_ms as f64 / 1000.0);
    [
        connection.model.clone(),
        status,
        connection.since_ms.map(clock).unwrap_or_default(),
        connection.revision.split('-').next().unwrap_or_default().to_owned(),
        connection.lag_ms.map(lag).unwrap_or_default(),
        connection.relation.clone(),
    ]
}

/// The time of day in UTC.
fn clock(at_ms: i64) -> String {
    let seconds = at_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
