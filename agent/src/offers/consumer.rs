//! The end of the agent that uses offers: a task for each, which tells the other agent of our bags and listens for its.
//!
//! A task has one question on its way at a time. When our bags change, the question is taken back and another one is asked, which
//! is why a change travels at once. A task whose relation is gone says so until the other agent has heard it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relatum_relations::endpoints::APPLICATION;
use relatum_server::outgoing::HttpClients;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::change;
use super::link::{Link, Trouble};
use super::our_bags;
use super::protocol::{Answer, Bags, Question, VERSION, WAIT_MAX};
use crate::daemon::Agent;
use crate::events::Event;
use crate::relate::RelateError;
use crate::store::{StoreError, Upstream, World};
use crate::workload::Workload;

/// Pauses after failures: from the first, doubled each time, to the last.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The pause after news: nobody notices it, and a peer that has news without end does not keep us busy.
const NEWS_PAUSE: Duration = Duration::from_millis(20);

/// An answer without news that comes faster than this was not waited for; asking again at once would be a flood.
const PATIENCE_EXPECTED: Duration = Duration::from_secs(1);

/// What one task has to say.
#[derive(Debug, Clone, PartialEq)]
struct Task {
    upstream: Upstream,
    /// None when the relation is gone.
    said: Option<Said>,
}

/// Our side of the relation.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    tier: String,
    model: String,
    interface: String,
    endpoint: String,
    revision: String,
    bags: Bags,
}

/// Keeps a task for every upstream until the agent stops.
pub(crate) async fn run(agent: Arc<Agent>, workload: Arc<dyn Workload>) {
    let clients = Arc::new(HttpClients::default());
    let mut passes = agent.passes();
    let mut known: BTreeMap<u64, watch::Sender<Task>> = BTreeMap::new();
    let mut running = JoinSet::new();
    loop {
        let report = passes.borrow_and_update().report.clone();
        if let Some(report) = report {
            let wanted = tasks(&report.world, &known);
            known.retain(|relation, _| report.world.offers.upstream(*relation).is_some());
            for (relation, task) in wanted {
                match known.get(&relation) {
                    // The revision of their bags changes by what the task itself does.
                    Some(told) => drop(told.send_if_modified(|told| {
                        let is_new = told.said != task.said || !is_same_place(&told.upstream, &task.upstream);
                        *told = task;
                        is_new
                    })),
                    None => {
                        let (told, task) = watch::channel(task);
                        let conversation = Conversation {
                            agent: Arc::clone(&agent),
                            workload: Arc::clone(&workload),
                            clients: Arc::clone(&clients),
                            relation,
                        };
                        running.spawn(conversation.run(task));
                        known.insert(relation, told);
                    }
                }
            }
        }
        tokio::select! {
            Ok(()) = passes.changed() => {}
            Some(_) = running.join_next() => {}
            () = agent.stopping.cancelled() => break,
        }
    }
    drop(known);
    while running.join_next().await.is_some() {}
}

fn is_same_place(a: &Upstream, b: &Upstream) -> bool {
    (&a.url, &a.secret, &a.ca, &a.consumer) == (&b.url, &b.secret, &b.ca, &b.consumer)
}

/// What is to be said to whom. What a task has been told already is not put together again.
fn tasks(world: &World, known: &BTreeMap<u64, watch::Sender<Task>>) -> Vec<(u64, Task)> {
    let task = |upstream: &Upstream| {
        let stored = world.relation(upstream.relation);
        let said = stored.filter(|stored| stored.requirer.application == APPLICATION).map(|stored| {
            let (revision, bags) = our_bags(stored);
            Said {
                tier: world.model.uuid.clone(),
                model: world.model.name.clone(),
                interface: stored.interface.clone(),
                endpoint: stored.requirer.name.clone(),
                revision,
                bags,
            }
        });
        (upstream.relation, Task { upstream: upstream.clone(), said })
    };
    let tasks = world.offers.upstreams.iter().map(task);
    tasks.filter(|(relation, task)| known.get(relation).is_none_or(|told| *told.borrow() != *task)).collect()
}

/// One task; see the module.
struct Conversation {
    agent: Arc<Agent>,
    workload: Arc<dyn Workload>,
    clients: Arc<HttpClients>,
    relation: u64,
}

impl Conversation {
    async fn run(self, mut told: watch::Receiver<Task>) {
        let mut pause = PAUSE_MIN;
        // The revision of our bags that the other side holds; not known at the start.
        let mut held = String::new();
        loop {
            let task = told.borrow_and_update().clone();
            let begun = Instant::now();
            let stopping = self.agent.stopping.clone();
            let outcome = tokio::select! {
                outcome = self.turn(&task, &mut held) => outcome,
                changed = told.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                () = stopping.cancelled() => break,
            };
            let rest = match outcome {
                Ok(Turn::Over) => break,
                Ok(Turn::News) => {
                    pause = PAUSE_MIN;
                    NEWS_PAUSE
                }
                Ok(Turn::Nothing) => {
                    pause = PAUSE_MIN;
                    PATIENCE_EXPECTED.saturating_sub(begun.elapsed())
                }
                Err(trouble) => {
                    self.fail(&task, trouble).await;
                    let rest = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                    rest
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                changed = told.changed() => if changed.is_err() { break },
                () = stopping.cancelled() => break,
            }
        }
        self.agent.board.remove_upstream(self.relation);
    }

    /// One question and what follows from its answer.
    async fn turn(&self, task: &Task, held: &mut String) -> Result<Turn, Trouble> {
        let link = Link::open(&self.clients, &task.upstream)?;
        let Some(said) = &task.said else {
            match link.leave().await {
                // It does not let us in any more, so it needs not be told either.
                Ok(()) | Err(Trouble::Refused(_)) => {}
                Err(trouble) => return Err(trouble),
            }
            let relation = self.relation;
            self.change("the other side knows that the relation is gone", move |change| {
                Ok(change.forget_upstream(relation)?)
            })
            .await?;
            return Ok(Turn::Over);
        };
        // As the newest pass has it: what this task heard last is in there.
        let newest = self.agent.newest();
        let seen = newest.as_ref().and_then(|report| report.world.offers.upstream(self.relation));
        let seen = seen.map(|upstream| upstream.revision.clone()).unwrap_or_default();
        drop(newest);
        // The first question after trouble is answered at once, so that its end is known.
        let is_connected = self.agent.board.is_connected(self.relation);
        let question = Question {
            relatum: VERSION,
            tier: said.tier.clone(),
            model: said.model.clone(),
            interface: said.interface.clone(),
            endpoint: said.endpoint.clone(),
            revision: said.revision.clone(),
            bags: (*held != said.revision).then(|| said.bags.clone()),
            seen,
            wait_ms: if is_connected { WAIT_MAX.as_millis() as u64 } else { 0 },
            lag_ms: self.lag_ms(said),
        };
        let answer = link.ask(&question).await?;
        if self.agent.board.put_upstream(self.relation, Ok(answer.model.clone()), crate::now_ms()) {
            info!(relation = self.relation, model = answer.model, "connected to an offer");
        }
        // A peer that forgets what it was told, or repeats itself, is not asked again at once.
        let is_asked_for = answer.held != said.revision && question.bags.is_none();
        let is_news = answer.bags.is_some() && answer.revision != question.seen;
        held.clone_from(&answer.held);
        if answer.bags.is_some() {
            self.hear(&task.upstream, answer).await?;
        }
        Ok(if is_asked_for || is_news || !is_connected { Turn::News } else { Turn::Nothing })
    }

    /// Writes the other side's bags and waits for the pass that sees them.
    async fn hear(&self, upstream: &Upstream, answer: Answer) -> Result<(), Trouble> {
        let description = format!("databags of offer {}", upstream.url);
        let upstream = upstream.clone();
        self.change(&description, move |change| Ok(change::hear(&upstream, &answer, change)?)).await
    }

    async fn change(
        &self,
        description: &str,
        change: impl FnOnce(&crate::store::Change<'_>) -> Result<(), RelateError> + Send + 'static,
    ) -> Result<(), Trouble> {
        let (agent, description) = (Arc::clone(&self.agent), description.to_owned());
        let done = tokio::task::spawn_blocking(move || {
            crate::lock(&agent.store).mutate::<_, RelateError>(&description, change).map(drop)
        });
        let done = done.await.map_err(|error| Trouble::Unusable(error.to_string()))?;
        done.map_err(|error| Trouble::Unusable(crate::chain(&error)))?;
        let ticket = self.agent.queue.push(Event::RelationsChanged);
        let _ = self.agent.settled(ticket).await;
        Ok(())
    }

    async fn fail(&self, task: &Task, trouble: Trouble) {
        let text = trouble.message();
        if trouble.is_gone() {
            warn!(
                relation = self.relation,
                url = task.upstream.url,
                "an offer is gone, and with it the relation: {text}"
            );
            let upstream = task.upstream.clone();
            let removed = self.change("the offer is gone", move |change| change::ended(&upstream, change)).await;
            if let Err(trouble) = removed {
                warn!(relation = self.relation, "cannot remove the relation: {}", trouble.message());
            }
            return;
        }
        if self.agent.board.put_upstream(self.relation, Err(trouble), crate::now_ms()) {
            warn!(relation = self.relation, url = task.upstream.url, "{text}");
        } else {
            debug!(relation = self.relation, url = task.upstream.url, "{text}");
        }
    }

    fn lag_ms(&self, said: &Said) -> Option<u64> {
        let name = super::standing::remote_name(&said.endpoint, self.relation);
        self.workload.remotes().into_iter().find(|remote| remote.name == name)?.lag_ms
    }
}

/// What came of one question.
enum Turn {
    /// Something to go on with at once.
    News,
    /// All is as it was.
    Nothing,
    /// There is nobody to talk to any more.
    Over,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Unusable(crate::chain(&error))
    }
}
