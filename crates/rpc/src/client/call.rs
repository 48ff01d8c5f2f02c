//! One call: many tries, one deadline.

use super::{Client, ClientError, mean_cluster, pool::Target};
use crate::status::{Failure, classify};
use quorate_runtime::retry::Backoff;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Request, Response, Status, transport::Channel};

/// The first wait after nobody could serve a request, and the longest.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(1);

/// The time that is left is shared with so many of those that were not asked yet: one that says nothing, as a process that
/// was stopped does, leaves some to the others.
const SHARES_MAX: u32 = 3;

/// Waits between rounds of tries.
pub(super) fn backoff() -> Backoff {
    Backoff::new(BACKOFF_BASE, BACKOFF_CAP)
}

/// What a call asks for.
pub(super) struct Call<'a, Req> {
    /// Sent the same in every try.
    pub(super) request: &'a Req,
    /// The id that makes tries of a mutation harmless; none for a read.
    pub(super) request_id: Option<&'a str>,
    /// How long one try may take.
    pub(super) per_try: Duration,
    /// How long a coordinator may hold the request before it answers, as was asked of it.
    pub(super) held: Duration,
    /// How long all tries may take.
    pub(super) deadline: Duration,
}

impl<Req> Call<'_, Req> {
    /// How long a try may take when so much time is left, and so many were not asked yet, the one that is to be asked among
    /// them.
    fn patience(&self, left: Duration, unasked: usize) -> Duration {
        let shares = u32::try_from(unasked).unwrap_or(SHARES_MAX).clamp(1, SHARES_MAX);
        let share = left.saturating_sub(self.held) / shares;
        self.per_try.min(self.held + share).min(left)
    }
}

/// Who answered, and what.
pub(super) struct Answer<Res> {
    pub(super) address: String,
    pub(super) body: Res,
}

/// What happened in the tries so far.
#[derive(Default)]
struct Tries {
    /// Asked since the last wait.
    round: Vec<String>,
    /// Asked at all.
    asked: Vec<String>,
    /// Somebody answered, though not with what was wanted.
    answered: bool,
    /// A try may have had an effect.
    maybe_done: bool,
    /// The last failure, for people.
    last: Option<String>,
}

impl Client {
    /// Tries until there is an answer or the deadline is over.
    pub(super) async fn call<Req, Res, F, Fut>(
        &self,
        call: Call<'_, Req>,
        send: F,
    ) -> Result<Answer<Res>, ClientError>
    where
        Req: Clone,
        F: Fn(Channel, usize, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let end = Instant::now() + call.deadline;
        let mut tries = Tries::default();
        // Drawing a seed costs more than all the rest of a call that is answered at once.
        let mut pauses = None;
        while Instant::now() < end {
            let (picked, unasked) = {
                let pool = self.pool();
                (pool.pick(&tries.round), pool.count_unasked(&tries.round))
            };
            let Some(target) = picked else {
                tries.round.clear();
                wait(pauses.get_or_insert_with(backoff).next_delay(), end).await;
                continue;
            };
            let Target { address, channel } = target;
            let patience = call.patience(end.saturating_duration_since(Instant::now()), unasked);
            let outcome = self.attempt(&call, channel.clone(), patience, &send).await;
            tries.note_asked(&address);
            match outcome.map_err(ClientError::answer) {
                Ok(body) => {
                    self.pool().prefer(&address);
                    self.learn_members(channel);
                    return Ok(Answer { address, body });
                }
                Err(Ok(ClientError::Other { message, .. }))
                    if call.request_id.is_some() && tries.maybe_done =>
                {
                    // Not an answer to what was sent before.
                    tries.last = Some(message);
                    break;
                }
                Err(Ok(answer)) => {
                    self.pool().prefer(&address);
                    return Err(answer);
                }
                Err(Err(Failure::Overloaded { retry_after, message })) => {
                    tries.answered = true;
                    tries.last = Some(message);
                    let pause = pauses.get_or_insert_with(backoff).next_delay();
                    wait(retry_after.max(pause), end).await;
                }
                Err(Err(failure)) => {
                    self.pool().doubt();
                    if matches!(failure, Failure::NotLeader { .. }) {
                        self.learn_members(channel);
                    }
                    self.note(&mut tries, address, failure);
                }
            }
        }
        Err(tries.give_up(&call))
    }

    /// One try. Both sides are told how long it may take.
    async fn attempt<Req, Res, F, Fut>(
        &self,
        call: &Call<'_, Req>,
        channel: Channel,
        patience: Duration,
        send: &F,
    ) -> Result<Res, Failure>
    where
        Req: Clone,
        F: Fn(Channel, usize, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let started = Instant::now();
        let limit = started + patience;
        let mut request = Request::new(call.request.clone());
        request.set_timeout(limit - started);
        mean_cluster(request.metadata_mut(), self.options.cluster.as_ref());
        match timeout_at(limit, send(channel, self.options.max_message_bytes, request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(classify(&status)),
            Err(_) => {
                let waited_ms = (limit - started).as_millis();
                Err(Failure::Unreachable { sent: true, message: format!("no answer within {waited_ms} ms") })
            }
        }
    }

    /// Learns from a failure whom to ask next.
    fn note(&self, tries: &mut Tries, address: String, failure: Failure) {
        tracing::debug!(endpoint = %address, error = %failure, "trying another coordinator");
        tries.last = Some(format!("{address}: {failure}"));
        tries.answered |= !matches!(failure, Failure::Unreachable { .. });
        tries.maybe_done |=
            matches!(failure, Failure::OutcomeUnknown { .. } | Failure::Unreachable { sent: true, .. });
        let mut pool = self.pool();
        pool.leave(&address);
        if let Failure::NotLeader { hint: Some(leader), .. } = failure
            && !tries.round.contains(&leader.api_address)
            && leader.api_address != address
        {
            pool.follow(&leader.api_address);
        }
        drop(pool);
        tries.round.push(address);
    }

    /// Learns from the end of a stream whom to ask next.
    pub(super) fn note_stream_end(&self, address: &str, failure: &Failure) {
        let mut pool = self.pool();
        pool.leave(address);
        if let Failure::NotLeader { hint: Some(leader), .. } = failure {
            pool.follow(&leader.api_address);
        }
    }
}

impl Tries {
    fn note_asked(&mut self, address: &str) {
        if !self.asked.iter().any(|known| known == address) {
            self.asked.push(address.to_owned());
        }
    }

    fn give_up<Req>(self, call: &Call<'_, Req>) -> ClientError {
        let deadline_ms = u64::try_from(call.deadline.as_millis()).unwrap_or(u64::MAX);
        let last = self.last.unwrap_or_else(|| "there was no time for a try".to_owned());
        match call.request_id {
            Some(id) if self.maybe_done => {
                ClientError::OutcomeUnknown { request_id: id.to_owned(), deadline_ms, last }
            }
            _ if self.answered => ClientError::NoLeader { deadline_ms, asked: self.asked, last },
            _ => ClientError::Unreachable { deadline_ms, asked: self.asked, last },
        }
    }
}

async fn wait(delay: Option<Duration>, end: Instant) {
    sleep_until((Instant::now() + delay.unwrap_or(BACKOFF_CAP)).min(end)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_deadline_is_shared_with_those_that_were_not_asked() {
        let ms = Duration::from_millis;
        let call =
            |held| Call { request: &(), request_id: None, per_try: ms(3_000) + held, held, deadline: ms(0) };
        let usual = call(Duration::ZERO);
        for (left_ms, unasked, expected_ms) in [
            (10_000, 3, 3_000),
            (1_500, 3, 500),
            (1_000, 2, 500),
            (500, 1, 500),
            (500, 0, 500),
            (1_500, 9, 500),
            (10_000, 1, 3_000),
        ] {
            assert_eq!(usual.patience(ms(left_ms), unasked), ms(expected_ms), "{left_ms} {unasked}");
        }
        // Whoever holds it as long as it was asked to is not given up before.
        let waits = call(ms(20_000));
        assert_eq!(waits.patience(ms(26_000), 3), ms(22_000));
        assert_eq!(waits.patience(ms(15_000), 3), ms(15_000));
    }
}
