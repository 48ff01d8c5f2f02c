//! What the guard of a group may begin, by what its agent says: each epoch once, and none after a later one. What it was told
//! of and did not begin it says so of as soon as that is over: until then nobody knows that nothing runs.

use quorate_domain::Epoch;

/// What a guard was told and has begun.
#[derive(Debug, Clone)]
pub struct Mandates<M> {
    /// What the agent said last, while that is that this host is primary.
    now: Option<(Epoch, M)>,
    /// The epoch that the agent has asked about and was not answered for.
    asked: Option<Epoch>,
    /// The last epoch that has begun, or never will.
    last: Epoch,
}

impl<M> Default for Mandates<M> {
    fn default() -> Self {
        Self { now: None, asked: None, last: Epoch(0) }
    }
}

impl<M> Mandates<M> {
    /// An epoch is to begin here: the agent wants to know whether the guard is there.
    pub fn asked(&mut self, epoch: Epoch) {
        self.asked = Some(epoch);
    }

    /// The host is primary. An earlier epoch that was to begin and never will.
    pub fn told(&mut self, epoch: Epoch, mandate: M) -> Option<Epoch> {
        let is_another = self.now.as_ref().is_some_and(|(before, _)| *before != epoch);
        let unbegun = if is_another { self.over() } else { None };
        self.now = Some((epoch, mandate));
        unbegun
    }

    /// The host is not primary, or not any more. The epoch that was to begin and never will.
    pub fn over(&mut self) -> Option<Epoch> {
        let last = self.last;
        let (unbegun, _) = self.now.take().filter(|(epoch, _)| *epoch > last)?;
        self.last = unbegun;
        Some(unbegun)
    }

    /// There is no agent: whoever comes back says it anew.
    pub fn away(&mut self) {
        (self.now, self.asked) = (None, None);
    }

    /// The guard could begin: the epoch that it is to say so of.
    pub fn ready(&mut self) -> Option<Epoch> {
        let last = self.last;
        self.asked.take_if(|epoch| *epoch > last)
    }

    /// Begins what is to begin, if the guard has not yet.
    pub fn begin(&mut self) -> Option<(Epoch, M)>
    where
        M: Clone,
    {
        let last = self.last;
        let (epoch, mandate) = self.now.clone().filter(|(epoch, _)| *epoch > last)?;
        self.last = epoch;
        Some((epoch, mandate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_begins_once_and_none_after_a_later_one() {
        let mut mandates = Mandates::default();
        assert_eq!((mandates.begin(), mandates.over()), (None, None));
        assert_eq!(mandates.told(Epoch(5), 'a'), None);
        assert_eq!(mandates.begin(), Some((Epoch(5), 'a')));
        assert_eq!((mandates.told(Epoch(5), 'b'), mandates.begin(), mandates.over()), (None, None, None));
        mandates.told(Epoch(4), 'c');
        assert_eq!((mandates.begin(), mandates.over()), (None, None), "it has begun a later one");
    }

    #[test]
    fn what_was_to_begin_and_never_will_is_said_once() {
        let mut mandates = Mandates::default();
        mandates.told(Epoch(5), ());
        assert_eq!(mandates.told(Epoch(5), ()), None, "it may yet");
        assert_eq!((mandates.over(), mandates.over()), (Some(Epoch(5)), None));
        mandates.told(Epoch(5), ());
        assert_eq!(mandates.begin(), None, "it was said that it never will");
        mandates.told(Epoch(6), ());
        assert_eq!(mandates.told(Epoch(7), ()), Some(Epoch(6)));
        assert_eq!(mandates.begin(), Some((Epoch(7), ())));
        mandates.told(Epoch(8), ());
        mandates.away();
        assert_eq!((mandates.over(), mandates.begin()), (None, None), "the next attachment says it of all");
    }

    #[test]
    fn it_is_ready_for_what_it_has_not_begun() {
        let mut mandates = Mandates::default();
        mandates.asked(Epoch(5));
        assert_eq!((mandates.ready(), mandates.ready()), (Some(Epoch(5)), None));
        mandates.told(Epoch(5), ());
        mandates.begin();
        mandates.asked(Epoch(5));
        assert_eq!(mandates.ready(), None);
        mandates.asked(Epoch(6));
        mandates.away();
        assert_eq!(mandates.ready(), None);
    }
}
