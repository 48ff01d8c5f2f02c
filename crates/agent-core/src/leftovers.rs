//! What earlier guards of a group may have left on this host, as far as the one that is there now knows: it begins nothing
//! before that is gone, and says to the agent what it has seen, or what hinders it.

#[cfg(planted)]
use quorate_domain::planted::{self, Bug};

/// What a guard knows of what others have left.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about a search or an attachment")]
#[derive(Debug, Clone, Default)]
pub struct Leftovers {
    /// Nothing is left that can be seen.
    gone: bool,
    /// Why something may be left: it cannot be ended, or hides what it is.
    problem: Option<String>,
    /// The agent has it on record that nothing is left.
    nothing_awaited: bool,
    attached: bool,
    /// The agent was told that nothing is left.
    told: bool,
    /// What the agent was told last that hinders this guard; empty for nothing.
    told_hindrance: String,
}

impl Leftovers {
    /// The agent has taken this guard in, and has to be told anew.
    pub fn attached(&mut self) {
        (self.attached, self.told) = (true, false);
        self.told_hindrance.clear();
    }

    /// There is no agent to be told, and what it has on record is not known.
    pub fn away(&mut self) {
        (self.attached, self.nothing_awaited) = (false, false);
    }

    /// What the agent has on record: whether it waits for the word of a guard.
    pub fn are_awaited(&mut self, awaited: bool) {
        self.nothing_awaited = !awaited;
    }

    /// Something may be left again.
    pub fn may_be_there(&mut self) {
        self.gone = false;
    }

    /// A search has ended everything that can be seen and be told for what it is; what hides itself, if anything does.
    pub fn ended(&mut self, hidden: Option<String>) {
        (self.gone, self.problem) = (true, hidden);
    }

    /// A search has not ended what is left, and why.
    pub fn remain(&mut self, why: String) {
        (self.gone, self.problem) = (false, Some(why));
    }

    /// True when the last search has found something in its way.
    pub fn have_a_problem(&self) -> bool {
        self.problem.is_some()
    }

    /// True when they are to be looked for.
    pub fn are_to_be_looked_for(&self) -> bool {
        self.attached && !self.are_gone()
    }

    /// True when nothing is left: what hides itself is nothing of a guard's where the agent waits for no word of one.
    pub fn are_gone(&self) -> bool {
        let is_known = self.problem.is_none() || self.nothing_awaited;
        #[cfg(planted)]
        let is_known = is_known || planted::is(Bug::HiddenCountsAsGone);
        self.gone && is_known
    }

    /// True when the agent is to be told that nothing is left, once for each time that it takes this guard in: by what was
    /// seen, or by the word of an operator for what hides itself.
    pub fn are_to_be_told(&mut self, vouched: bool) -> bool {
        let is_known = self.problem.is_none() || vouched;
        #[cfg(planted)]
        let is_known = is_known || planted::is(Bug::HiddenCountsAsGone);
        let due = self.gone && is_known && self.attached && !self.told;
        self.told |= due;
        due
    }

    /// What hinders this guard, when the agent was last told something else; empty for nothing any more.
    pub fn hindrance_to_be_told(&mut self) -> Option<String> {
        let hindrance = self.problem.clone().filter(|_| !self.are_gone()).unwrap_or_default();
        if !self.attached || hindrance == self.told_hindrance {
            return None;
        }
        self.told_hindrance.clone_from(&hindrance);
        Some(hindrance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attached(awaited: bool) -> Leftovers {
        let mut left = Leftovers::default();
        left.attached();
        left.are_awaited(awaited);
        left
    }

    #[test]
    fn nothing_begins_before_a_search_and_what_is_gone_is_told_once_for_each_attachment() {
        let mut left = attached(false);
        assert!(left.are_to_be_looked_for() && !left.are_gone() && !left.are_to_be_told(true));
        left.ended(None);
        assert!(left.are_gone() && left.are_to_be_told(false) && !left.are_to_be_told(false));
        left.away();
        assert!(left.are_gone() && !left.are_to_be_told(false));
        left.attached();
        assert!(left.are_to_be_told(false));
        left.may_be_there();
        assert!(left.are_to_be_looked_for() && !left.are_gone());
    }

    #[test]
    fn what_hides_hinders_only_while_a_word_is_awaited() {
        let mut left = attached(true);
        left.ended(Some("process 9 hides".into()));
        assert!(!left.are_gone() && !left.are_to_be_told(false) && left.are_to_be_looked_for());
        assert_eq!(left.hindrance_to_be_told().as_deref(), Some("process 9 hides"));
        assert_eq!(left.hindrance_to_be_told(), None, "said once");
        left.are_awaited(false);
        assert!(left.are_gone() && !left.are_to_be_told(false), "it has not seen it");
        assert_eq!(left.hindrance_to_be_told().as_deref(), Some(""));
        left.away();
        assert!(!left.are_gone(), "what an agent has on record that comes back is not known");
        assert_eq!(left.hindrance_to_be_told(), None, "nobody hears it");
    }

    #[test]
    fn an_operator_vouches_for_what_hides_and_not_for_what_is_seen() {
        let mut left = attached(true);
        left.remain("process 9 cannot be killed".into());
        left.are_awaited(false);
        assert!(!left.are_to_be_told(true) && !left.are_gone());
        left.are_awaited(true);
        left.ended(Some("process 9 hides".into()));
        assert!(left.are_to_be_told(true) && !left.are_gone(), "the agent has the word, and says so");
        left.are_awaited(false);
        assert!(left.are_gone());
    }
}
