//! What the cluster is like, by the word of whoever can decide. Any coordinator says how the cluster is as far as it knows;
//! one that is cut off knows an old state, calls itself the leader perhaps, and says that there is no quorum. So whoever
//! wants to know asks the others before that is believed.

use super::{Client, ClientError};
use crate::{
    pb::control::{GetStatusRequest, GetStatusResponse, cluster_client::ClusterClient},
    status::{Failure, classify},
    transport::{endpoint, parse_endpoint},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use tonic::Response;

/// The most coordinators that are asked; a cluster has seven at most, each perhaps under two addresses.
const ASKED_MAX: usize = 16;
/// While somebody hears a leader and none has answered that can decide, all are asked again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What was learned by asking.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// The best answer: of a leader that can decide, or else of one that hears a leader, or else the first.
    pub status: GetStatusResponse,
    /// Who did not answer, and why.
    pub in_vain: Vec<(String, Failure)>,
}

impl Survey {
    /// Why the leader that the answer names was not reached, if it names another one.
    pub fn leader_unreached(&self) -> Option<&Failure> {
        let named = &self.status.leader_api_address;
        let follows = self.status.leader_id != 0 && self.status.leader_id != self.status.coordinator_id;
        self.in_vain.iter().find(|(address, _)| follows && address == named).map(|(_, error)| error)
    }
}

/// The better of two answers has more of this.
fn rank(status: &GetStatusResponse) -> (bool, bool, u64) {
    // Of several without a quorum the latest term is nearest to the truth, and of several with one as well.
    (status.can_decide, status.reaches_quorum, status.term)
}

impl Client {
    /// The status of the cluster by the word of a leader that can decide, asked for at all coordinators that are known by the
    /// first answer; the best other answer when there is none in time.
    ///
    /// # Errors
    /// [`ClientError`] when nobody answers at all.
    pub async fn survey(&self, request: GetStatusRequest, patience: Duration) -> Result<Survey, ClientError> {
        let first = self.get_status(request).await?;
        let mut survey = Survey { status: first, in_vain: Vec::new() };
        if survey.status.can_decide {
            return Ok(survey);
        }
        let end = Instant::now() + patience;
        loop {
            self.ask_all(request, end, &mut survey).await;
            // Where nobody hears a leader, another round finds none. A new one needs a moment before it can decide.
            let hopeless = !survey.status.reaches_quorum || survey.leader_unreached().is_some();
            if survey.status.can_decide || hopeless || Instant::now() + ASK_AGAIN >= end {
                return Ok(survey);
            }
            sleep_until(Instant::now() + ASK_AGAIN).await;
        }
    }

    /// Asks all that are known by now, at the same time, until one can decide or all have answered.
    async fn ask_all(&self, request: GetStatusRequest, end: Instant, survey: &mut Survey) {
        let status = &survey.status;
        let members = status.members.iter().map(|member| member.api_address.clone());
        let named = std::iter::once(status.leader_api_address.clone());
        // The addresses that coordinators know each other by may mean nothing here, as with published ports of containers;
        // those that were given do.
        let addresses = self.endpoints().into_iter().chain(named).chain(members);
        let addresses = addresses.filter_map(|text| parse_endpoint(&text).ok()).collect::<BTreeSet<_>>();
        let addresses: BTreeSet<String> = addresses.into_iter().take(ASKED_MAX).collect();
        let mut asked = JoinSet::new();
        for address in addresses.clone() {
            let Ok(endpoint) = endpoint(&address) else { continue };
            let max_bytes = self.options.max_message_bytes;
            let mut cluster =
                ClusterClient::new(endpoint.connect_lazy()).max_decoding_message_size(max_bytes);
            // Once: whoever is not reached now is news as well.
            asked.spawn(async move { (cluster.get_status(request).await, address) });
        }
        survey.in_vain.clear();
        let mut waiting = addresses;
        while let Ok(Some(Ok((answer, address)))) = timeout_at(end, asked.join_next()).await {
            waiting.remove(&address);
            match answer.map(Response::into_inner) {
                Ok(status) if rank(&status) > rank(&survey.status) => survey.status = status,
                Ok(_) => {}
                Err(status) => survey.in_vain.push((address, classify(&status))),
            }
            if survey.status.can_decide {
                return;
            }
        }
        let silent = || Failure::Unreachable { sent: true, message: "no answer in time".to_owned() };
        survey.in_vain.extend(waiting.into_iter().map(|address| (address, silent())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_can_decide_is_believed_before_one_that_hears_it_and_that_before_one_that_is_cut_off() {
        let said = |can_decide, reaches_quorum, term| GetStatusResponse {
            can_decide,
            reaches_quorum,
            term,
            ..GetStatusResponse::default()
        };
        let ranked = [
            said(false, false, 9),
            said(false, false, 10),
            said(false, true, 7),
            said(true, true, 6),
            said(true, true, 8),
        ];
        assert!(ranked.windows(2).all(|two| rank(&two[0]) < rank(&two[1])));
    }

    #[test]
    fn the_leader_is_unreached_only_when_another_one_names_it() {
        let lost = || Failure::Unreachable { sent: false, message: "refused".into() };
        let survey = |leader_id| Survey {
            status: GetStatusResponse {
                coordinator_id: 1,
                leader_id,
                leader_api_address: "b:1".into(),
                ..GetStatusResponse::default()
            },
            in_vain: vec![("b:1".into(), lost())],
        };
        assert_eq!(survey(2).leader_unreached(), Some(&lost()));
        assert_eq!((survey(1).leader_unreached(), survey(0).leader_unreached()), (None, None));
    }
}
