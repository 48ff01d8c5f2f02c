//! What a keeper says to the agent when nothing is left of the service and its guard is gone, or stands still.

use quorate_rpc::{client::LocalAgentClient, pb::agent::GuardStoppedRequest, transport};
use quorate_warden::keeper::{KEEPER_MARK, Kept};
use std::{env, fmt, time::Duration};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep, timeout},
};

/// For how long the agent is tried: one that comes later hears it from a later guard.
const TRY_FOR: Duration = Duration::from_mins(1);
/// The wait between two tries.
const RETRY: Duration = Duration::from_millis(250);
/// How long the agent may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Whom to tell of what, as it stands in the environment of a keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastWord {
    pub(super) agent: String,
    pub(super) epoch: u64,
    pub(super) secret: String,
    pub(super) group: String,
}

impl fmt::Display for LastWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.agent, self.epoch, self.secret, self.group)
    }
}

impl LastWord {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let agent = words.next()?.to_owned();
        let epoch = words.next()?.parse().ok()?;
        let secret = words.next()?.to_owned();
        Some(Self { agent, epoch, secret, group: words.next()?.to_owned() })
    }
}

/// A keeper has ended: it says what its guard does not any more.
pub(crate) fn kept(kept: Kept) {
    let word = env::var(KEEPER_MARK).ok().and_then(|text| LastWord::parse(&text));
    if let (Kept::Alone, Some(word)) = (kept, word)
        && let Ok(runtime) = Builder::new_current_thread().enable_all().build()
    {
        runtime.block_on(say(word));
    }
}

async fn say(LastWord { agent, epoch, secret, group }: LastWord) {
    let Ok(endpoint) = transport::endpoint(&agent) else { return };
    let end = Instant::now() + TRY_FOR;
    let reason =
        "its guard is gone or stands still, and its keeper has killed everything that the service started";
    let request = GuardStoppedRequest { group, epoch, reason: reason.to_owned(), secret };
    while Instant::now() < end {
        let mut client = LocalAgentClient::new(endpoint.connect_lazy());
        if let Ok(Ok(_)) = timeout(ANSWER_WAIT, client.guard_stopped(request.clone())).await {
            return;
        }
        sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_guard_has_written() {
        let word =
            LastWord { agent: "127.0.0.1:7402".into(), epoch: 5, secret: "s".into(), group: "g".into() };
        assert_eq!(LastWord::parse(&word.to_string()), Some(word));
        for text in ["", "a", "a 5", "a 5 s", "a x s g"] {
            assert_eq!(LastWord::parse(text), None, "{text:?}");
        }
    }
}
