//! The caller's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{
    ChangeConfiguration, Configuration, Datasource, Explanations, Failure, History, HistoryEntry, LintReport, LogLevel,
    LogLine, MadeCopy, MadeOffer, MakeCopy, MakeOffer, OfferList, Rehearsal, Rehearse, Relate, Related, RelationDetail,
    RemoveApplications, RemoveOffer, RemoveRelation, RemoveUnits, Removed, RemovedApplications, RemovedOffer,
    RemovedUnits, Rendered, RevisionDifference, RollBack, RolledBack, RunAction, ShownUnit, Status, Stopping, Task,
};

/// Talks to the agent behind one socket. Every call opens a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client for the agent whose data directory is `data_dir`. Does not connect yet.
    pub fn new(data_dir: &Path) -> Self {
        Client { socket: crate::options::socket(data_dir) }
    }

    /// `status`.
    pub async fn status(&self) -> Result<Status, Failure> {
        self.get("/v1/status").await
    }

    /// `relate`.
    pub async fn relate(&self, request: &Relate) -> Result<Related, Failure> {
        self.post("/v1/relate", request).await
    }

    /// `remove-relation`.
    pub async fn remove_relation(&self, request: &RemoveRelation) -> Result<Removed, Failure> {
        self.post("/v1/remove-relation", request).await
    }

    /// `remove-unit`.
    pub async fn remove_units(&self, request: &RemoveUnits) -> Result<RemovedUnits, Failure> {
        self.post("/v1/remove-unit", request).await
    }

    /// `remove-application`.
    pub async fn remove_applications(&self, request: &RemoveApplications) -> Result<RemovedApplications, Failure> {
        self.post("/v1/remove-application", request).await
    }

    /// `show-relation`; `which` as in [`crate::control`].
    pub async fn show_relation(&self, which: &str, show_secrets: bool) -> Result<RelationDetail, Failure> {
        self.get(&format!("/v1/relations/{}?show_secrets={show_secrets}", percent_encode(which))).await
    }

    /// `backup`.
    pub async fn make_copy(&self, request: &MakeCopy) -> Result<MadeCopy, Failure> {
        self.post("/v1/copy", request).await
    }

    /// `offer`.
    pub async fn make_offer(&self, request: &MakeOffer) -> Result<MadeOffer, Failure> {
        self.post("/v1/offers", request).await
    }

    /// `offers`.
    pub async fn offers(&self) -> Result<OfferList, Failure> {
        self.get("/v1/offers").await
    }

    /// `remove-offer`.
    pub async fn remove_offer(&self, request: &RemoveOffer) -> Result<RemovedOffer, Failure> {
        self.post("/v1/remove-offer", request).await
    }

    /// `config prometheus`.
    pub async fn configuration(&self) -> Result<Configuration, Failure> {
        self.get("/v1/config").await
    }

    /// `config prometheus key=value`.
    pub async fn change_configuration(&self, request: &ChangeConfiguration) -> Result<Configuration, Failure> {
        self.post("/v1/config", request).await
    }

    /// `render`.
    pub async fn render(&self, show_secrets: bool) -> Result<Rendered, Failure> {
        self.get(&format!("/v1/render?show_secrets={show_secrets}")).await
    }

    /// `--dry-run`.
    pub async fn rehearse(&self, request: &Rehearse) -> Result<Rehearsal, Failure> {
        self.post("/v1/dry-run", request).await
    }

    /// `show-unit`; `unit` must be a unit's name.
    pub async fn show_unit(&self, unit: &str, show_secrets: bool) -> Result<ShownUnit, Failure> {
        let path: Vec<String> = unit.split('/').map(percent_encode).collect();
        self.get(&format!("/v1/units/{}?show_secrets={show_secrets}", path.join("/"))).await
    }

    /// `run`.
    pub async fn run_action(&self, request: &RunAction) -> Result<Task, Failure> {
        self.post("/v1/actions", request).await
    }

    /// `explain`.
    pub async fn explain(&self, what: &str) -> Result<Explanations, Failure> {
        self.get(&format!("/v1/explain?what={}", percent_encode(what))).await
    }

    /// `lint`.
    pub async fn lint(&self) -> Result<LintReport, Failure> {
        self.get("/v1/lint").await
    }

    /// `diff`; without `to` up to now.
    pub async fn difference(
        &self,
        from: u64,
        to: Option<u64>,
        show_secrets: bool,
    ) -> Result<RevisionDifference, Failure> {
        let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
        self.get(&format!("/v1/diff?from={from}{to}&show_secrets={show_secrets}")).await
    }

    /// `rollback`.
    pub async fn roll_back(&self, request: &RollBack) -> Result<RolledBack, Failure> {
        self.post("/v1/rollback", request).await
    }

    /// `history REVISION`.
    pub async fn revision(&self, revision: u64) -> Result<HistoryEntry, Failure> {
        self.get(&format!("/v1/history/{revision}")).await
    }

    /// `render --diff`.
    pub async fn render_difference(&self, show_secrets: bool) -> Result<Rehearsal, Failure> {
        self.get(&format!("/v1/render/diff?show_secrets={show_secrets}")).await
    }

    /// `history`: the newest `count` revisions.
    pub async fn history(&self, count: usize) -> Result<History, Failure> {
        self.get(&format!("/v1/history?count={count}")).await
    }

    /// `datasource grafana`.
    pub async fn datasource(&self) -> Result<Datasource, Failure> {
        self.get("/v1/datasource/grafana").await
    }

    /// Re-reads `relatum.yaml` and the template overrides.
    pub async fn reload(&self) -> Result<Status, Failure> {
        self.post("/v1/reload", &()).await
    }

    /// Asks the agent to stop; it answers before it does.
    pub async fn shutdown(&self) -> Result<Stopping, Failure> {
        self.post("/v1/shutdown", &()).await
    }

    /// Hands the last `lines` log lines that are as bad as `level` to `each`, oldest first, then, with `follow`, every new one until `each` says false
    /// or the agent ends.
    pub async fn log(
        &self,
        lines: usize,
        follow: bool,
        level: LogLevel,
        mut each: impl FnMut(LogLine) -> bool,
    ) -> Result<(), Failure> {
        let level = level.as_str().to_lowercase();
        let path = format!("/v1/log?lines={lines}&follow={follow}&level={level}");
        let mut body = self.send(Method::GET, &path, Vec::new()).await?.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Ok(()) };
            let Some(data) = frame.data_ref() else { continue };
            pending.extend_from_slice(data);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                if !each(decode(&line)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        receive(self.send(Method::GET, path, Vec::new()).await?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::internal(format!("cannot encode the request: {error}")))?;
        receive(self.send(Method::POST, path, body).await?).await
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // The connection lives exactly as long as somebody reads the answer.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "relatum")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::internal(format!("cannot build the request: {error}")))?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(receive::<Failure>(response).await.unwrap_or_else(|_| strange_answer(status)))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::failed(format!(
                "cannot reach an agent at {socket}: none is running there"
            ))
            .hint("start one with `relatum agent`, or name its data directory with --data-dir or RELATUM_DATA_DIR"),
            io::ErrorKind::PermissionDenied => {
                Failure::failed(format!("cannot connect to {socket}: permission denied"))
                    .hint("root, the agent's own user and members of the group `relatum` may connect")
            }
            _ => Failure::failed(format!("cannot connect to {socket}: {error}")),
        }
    }
}

async fn receive<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Failure> {
    let bytes = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
    decode(&bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::failed(format!("cannot read the agent's answer: {error}"))
            .hint("is the agent of the same version as this command?")
    })
}

fn broken(error: &hyper::Error) -> Failure {
    Failure::failed(format!("cannot talk to the agent: {error}"))
}

fn strange_answer(status: StatusCode) -> Failure {
    Failure::failed(format!("cannot read the agent's answer: status {status}"))
}

/// Everything but RFC 3986's unreserved characters becomes `%XX`.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
