//! The way to the agent: it is opened again for as long as the guard lives.

use super::LAST_WORD_WAIT;
use crate::{args::GuardArgs, exit};
use quorate_domain::{ClusterId, Epoch, GroupId};
use quorate_rpc::{
    Failure, classify,
    client::{LocalAgentClient, mean_cluster},
    pb::{
        agent::{
            GroupRole, GuardRequest, GuardResponse,
            guard_request::{Attach, Hindered, Knows, NothingLeft, Ready, Seat, Started, Stopped, Word},
        },
        types::Role,
    },
    transport,
};
use quorate_warden::{
    Told,
    keeper::{Until, seat},
    protocol::Disk,
};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming, transport::Endpoint};

/// The most words that wait for either side.
const WORDS_MAX: usize = 64;
/// How long the agent may take to answer whether it takes the guard.
const ATTACH_WAIT: Duration = Duration::from_secs(5);
/// The wait between two tries.
const RETRY: Duration = Duration::from_millis(250);

/// That this host is primary.
#[derive(Debug, Clone)]
pub(super) struct Mandate {
    pub(super) epoch: u64,
    pub(super) until: Until,
    /// What the service is told.
    pub(super) environment: Vec<(String, String)>,
}

/// What comes of the agent.
#[derive(Debug)]
pub(super) enum FromAgent {
    /// It takes this guard for the group's.
    Attached,
    /// The name of its state folder, and that it has it on record that nothing is left of what earlier guards ran.
    Host { instance: String, nothing_awaited: bool },
    /// An epoch is to begin here: it wants to know whether this guard is there.
    Asks(u64),
    /// This host is primary, for so long.
    Primary(Mandate),
    /// It is not; why.
    Other(String),
    /// It does not answer, or not any more.
    Away(String),
    /// It will not have this guard.
    Refused(Failure),
}

enum Event {
    Open(mpsc::Sender<GuardRequest>),
    Said(FromAgent),
}

/// The way to the agent.
pub(super) struct Attachment {
    events: mpsc::Receiver<Event>,
    words: Option<mpsc::Sender<GuardRequest>>,
    task: JoinHandle<()>,
}

impl Attachment {
    /// Begins to attach; by the seal the agent knows the keepers of this guard.
    ///
    /// # Errors
    /// When the address is none.
    pub(super) fn open(args: &GuardArgs, keeper_seal: String) -> anyhow::Result<Self> {
        let endpoint = transport::endpoint(&args.agent)
            .map_err(|bad| exit::Usage(format!("--agent {}: {}", args.agent, bad.problem)))?;
        let (send, events) = mpsc::channel(WORDS_MAX);
        let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
        let seat = seat();
        let (pid_namespace, user_namespace, clock) = (seat.pid_namespace, seat.user_namespace, seat.clock);
        let seat = Seat { uid: seat.uid, pid_namespace, user_namespace, clock, keeper_seal };
        let attach = Attach {
            group: args.group.to_string(),
            pid: std::process::id(),
            command: words.join(" "),
            seat: Some(seat),
        };
        let (agent, group, cluster) = (args.agent.clone(), args.group.clone(), args.cluster.clone());
        let line = Line { endpoint, agent, group, cluster, attach, send };
        Ok(Self { events, words: None, task: tokio::spawn(line.keep()) })
    }

    /// What comes next.
    pub(super) async fn next(&mut self) -> FromAgent {
        match self.events.recv().await {
            Some(Event::Open(words)) => {
                self.words = Some(words);
                FromAgent::Attached
            }
            Some(Event::Said(said)) => {
                if matches!(said, FromAgent::Away(_) | FromAgent::Refused(_)) {
                    self.words = None;
                }
                said
            }
            // It was refused, and there is nothing more to hear.
            None => std::future::pending().await,
        }
    }

    /// The keeper has taken in a deadline.
    pub(super) fn knows(&self, epoch: u64, lease_deadline_boot_ms: u64) {
        self.say(Word::Knows(Knows { epoch, lease_deadline_boot_ms }));
    }

    /// This guard is there for an epoch that is to begin.
    pub(super) fn ready(&self, epoch: u64) {
        self.say(Word::Ready(Ready { epoch }));
    }

    /// The service runs.
    pub(super) fn started(&self, epoch: u64) {
        self.say(Word::Started(Started { epoch }));
    }

    /// Nothing is left of what other guards of the group ran on this host, or this one before it was attached.
    pub(super) fn nothing_left(&self, vouched: bool) {
        self.say(Word::NothingLeft(NothingLeft { vouched }));
    }

    /// Why this guard cannot begin anything; empty when it can again.
    pub(super) fn hindered(&self, reason: String) {
        self.say(Word::Hindered(Hindered { reason }));
    }

    /// Nothing is left of the service.
    pub(super) fn stopped(&self, epoch: u64, reason: String, failed: bool) {
        self.say(Word::Stopped(Stopped { epoch, reason, failed }));
    }

    /// What cannot be said is said again once the guard is attached again.
    fn say(&self, word: Word) {
        if let Some(words) = &self.words {
            let _ = words.try_send(GuardRequest { word: Some(word) });
        }
    }

    /// Lets the agent read what was said, and goes.
    pub(super) async fn close(&mut self) {
        if self.words.take().is_some() {
            // The agent ends the stream once it has read the last word.
            let read = async {
                while let Some(event) = self.events.recv().await {
                    if matches!(event, Event::Said(FromAgent::Away(_) | FromAgent::Refused(_))) {
                        return;
                    }
                }
            };
            let _ = timeout(LAST_WORD_WAIT, read).await;
        }
        self.task.abort();
    }
}

struct Line {
    endpoint: Endpoint,
    agent: String,
    group: GroupId,
    cluster: Option<ClusterId>,
    attach: Attach,
    send: mpsc::Sender<Event>,
}

impl Line {
    async fn keep(self) {
        loop {
            let failure = match self.attach().await {
                Ok((words, answers)) => {
                    if self.send.send(Event::Open(words)).await.is_err() {
                        return;
                    }
                    self.listen(answers).await
                }
                Err(failure) => failure,
            };
            let refused = match &failure {
                Failure::Refused { .. } | Failure::NotFound { .. } | Failure::Invalid { .. } => true,
                Failure::Other { code, .. } => *code == Code::Unimplemented,
                _ => false,
            };
            let said = if refused {
                FromAgent::Refused(failure)
            } else {
                FromAgent::Away(format!(
                    "the agent at {} does not answer ({failure}); does it run, and is this its `listen` address?",
                    self.agent
                ))
            };
            if self.send.send(Event::Said(said)).await.is_err() || refused {
                return;
            }
            sleep(RETRY).await;
        }
    }

    async fn attach(&self) -> Result<(mpsc::Sender<GuardRequest>, Streaming<GuardResponse>), Failure> {
        let (words, said) = mpsc::channel(WORDS_MAX);
        let attach = GuardRequest { word: Some(Word::Attach(self.attach.clone())) };
        // There is room for the first.
        let _ = words.try_send(attach);
        let mut client = LocalAgentClient::new(self.endpoint.connect_lazy());
        let mut request = Request::new(ReceiverStream::new(said));
        mean_cluster(request.metadata_mut(), self.cluster.as_ref());
        let answer = timeout(ATTACH_WAIT, client.guard(request)).await;
        let silent = || Failure::Unreachable {
            sent: true,
            message: format!("no answer within {} s", ATTACH_WAIT.as_secs()),
        };
        let answers = answer.map_err(|_| silent())?.map_err(|status| classify(&status))?;
        Ok((words, answers.into_inner()))
    }

    /// Until the stream ends; how.
    async fn listen(&self, mut answers: Streaming<GuardResponse>) -> Failure {
        loop {
            match answers.message().await {
                Ok(Some(answer)) => {
                    let asks = Some(answer.asks_epoch).filter(|epoch| *epoch != 0).map(FromAgent::Asks);
                    let (instance, nothing_awaited) = (answer.instance.clone(), answer.nothing_awaited);
                    let host = FromAgent::Host { instance, nothing_awaited };
                    for said in [Some(host), asks, Some(said(&self.group, answer))] {
                        if let Some(said) = said
                            && self.send.send(Event::Said(said)).await.is_err()
                        {
                            return ended();
                        }
                    }
                }
                Ok(None) => break,
                Err(status) => return classify(&status),
            }
        }
        ended()
    }
}

fn ended() -> Failure {
    Failure::Unreachable { sent: true, message: "it ended the stream".to_owned() }
}

fn said(group: &GroupId, answer: GuardResponse) -> FromAgent {
    let GuardResponse { role, host, disk, disk_path, .. } = answer;
    let role = role.unwrap_or_default();
    if role.role() != Role::Primary || role.group != group.as_str() {
        return FromAgent::Other(role.reason);
    }
    let GroupRole { epoch, write_deadline_boot_ms, lease_deadline_boot_ms, reason, .. } = role;
    let disk = Disk { name: disk, path: disk_path };
    let told = Told {
        group,
        epoch: Epoch(epoch),
        role: "primary",
        host: &host,
        reason: &reason,
        disk: Some(&disk).filter(|disk| !disk.name.is_empty()),
    };
    let environment = told.variables().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let until = Until { writes_ms: write_deadline_boot_ms, lease_ms: lease_deadline_boot_ms };
    FromAgent::Primary(Mandate { epoch, until, environment })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(role: Role) -> GuardResponse {
        let role = GroupRole {
            group: "g".into(),
            role: role.into(),
            epoch: 5,
            write_deadline_boot_ms: 10,
            lease_deadline_boot_ms: 20,
            reason: "why".into(),
        };
        let (host, disk, disk_path) = ("h1".into(), "d1".into(), "/srv/d1".into());
        GuardResponse { role: Some(role), host, disk, disk_path, ..GuardResponse::default() }
    }

    #[test]
    fn only_a_primary_of_the_very_group_may_run_anything() {
        let g = GroupId::new("g").unwrap();
        let FromAgent::Primary(mandate) = said(&g, answer(Role::Primary)) else { panic!("it is primary") };
        assert_eq!((mandate.epoch, mandate.until), (5, Until { writes_ms: 10, lease_ms: 20 }));
        let told: Vec<String> =
            mandate.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "QUORATE_GROUP=g",
            "QUORATE_EPOCH=5",
            "QUORATE_ROLE=primary",
            "QUORATE_HOST=h1",
            "QUORATE_REASON=why",
            "QUORATE_DISK=d1",
            "QUORATE_DISK_PATH=/srv/d1",
        ];
        assert_eq!(told, expected);
        for role in [Role::Backup, Role::Fenced, Role::Unspecified] {
            assert!(matches!(said(&g, answer(role)), FromAgent::Other(reason) if reason == "why"));
        }
        let other = said(&GroupId::new("other").unwrap(), answer(Role::Primary));
        assert!(matches!(other, FromAgent::Other(_)));
        assert!(matches!(said(&g, GuardResponse::default()), FromAgent::Other(_)));
    }
}
