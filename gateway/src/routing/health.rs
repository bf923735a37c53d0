//! Whether a member is up, by what its probes come to.

use std::time::{Duration, Instant};

/// After so many probes in a row that fail a member is down: one alone may be a hiccup.
const FALL: u32 = 2;
/// After so many probes in a row that succeed it is up again, when it has fallen once. Each further fall doubles it.
const RISE: u32 = 2;
/// It is doubled so often at most.
const MAX_DOUBLINGS: u32 = 4;
/// Who has been up for so long has its falls forgiven.
const FORGIVEN: Duration = Duration::from_secs(60);

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It does its work.
    Ready,
    /// It is about to end, and says so.
    Draining,
    /// It answers that it can't, or not at all.
    Failed,
}

/// The health of one member.
///
/// Lanes move when a member falls or rises, so one that goes up and down all the time would have its clients go to and
/// fro: the oftener it falls, the longer it has to be well before it is taken for up.
#[derive(Clone, Debug)]
pub struct Health {
    is_up: bool,
    /// Probes in a row that speak for the other state.
    streak: u32,
    falls: u32,
    /// When it last rose.
    rose: Option<Instant>,
}

impl Health {
    /// Of a member that is not known yet: its first good probe tells that it is up.
    pub fn new() -> Self {
        Health { is_up: false, streak: 0, falls: 0, rose: None }
    }

    /// Whether lanes may be its.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Takes a probe into account.
    pub fn probed(&mut self, probed: Probed, now: Instant) {
        match (probed, self.is_up) {
            (Probed::Ready, true) => {
                self.streak = 0;
                if self.rose.is_some_and(|rose| now.duration_since(rose) >= FORGIVEN) {
                    self.falls = 0;
                }
            }
            (Probed::Ready, false) => {
                self.streak += 1;
                if self.streak >= self.rise() {
                    *self = Health { is_up: true, streak: 0, falls: self.falls, rose: Some(now) };
                }
            }
            (Probed::Failed, true) => {
                self.streak += 1;
                if self.streak >= FALL {
                    *self = Health { is_up: false, streak: 0, falls: self.falls + 1, rose: None };
                }
            }
            (Probed::Failed, false) => self.streak = 0,
            // It goes in good order, and is not blamed for it.
            (Probed::Draining, _) => *self = Health { is_up: false, streak: 0, ..self.clone() },
        }
    }

    fn rise(&self) -> u32 {
        match self.falls {
            0 => 1,
            falls => RISE << (falls - 1).min(MAX_DOUBLINGS),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes a second apart; how many it takes until the member is up, or down.
    fn until(health: &mut Health, now: &mut Instant, probed: Probed, up: bool) -> u32 {
        for count in 1..1000 {
            *now += Duration::from_secs(1);
            health.probed(probed, *now);
            if health.is_up() == up {
                return count;
            }
        }
        panic!("never")
    }

    #[test]
    fn one_bad_probe_is_no_fall_and_two_are() {
        let (mut health, mut now) = (Health::new(), Instant::now());
        assert!(!health.is_up());
        assert_eq!(until(&mut health, &mut now, Probed::Ready, true), 1);
        for probed in [Probed::Failed, Probed::Ready, Probed::Failed, Probed::Ready] {
            health.probed(probed, now);
            assert!(health.is_up());
        }
        assert_eq!(until(&mut health, &mut now, Probed::Failed, false), 2);
        assert_eq!(until(&mut health, &mut now, Probed::Ready, true), 2);
    }

    #[test]
    fn one_that_flaps_has_to_be_well_for_longer_and_longer() {
        let (mut health, mut now) = (Health::new(), Instant::now());
        until(&mut health, &mut now, Probed::Ready, true);
        let mut rises = Vec::new();
        for _ in 0..7 {
            until(&mut health, &mut now, Probed::Failed, false);
            // A good probe among bad ones doesn't count.
            health.probed(Probed::Ready, now);
            health.probed(Probed::Failed, now);
            rises.push(until(&mut health, &mut now, Probed::Ready, true));
        }
        assert_eq!(rises, [2, 4, 8, 16, 32, 32, 32]);
        now += FORGIVEN;
        health.probed(Probed::Ready, now);
        until(&mut health, &mut now, Probed::Failed, false);
        assert_eq!(until(&mut health, &mut now, Probed::Ready, true), 2);
    }

    #[test]
    fn one_that_drains_is_gone_at_once_and_is_not_blamed() {
        let (mut health, mut now) = (Health::new(), Instant::now());
        until(&mut health, &mut now, Probed::Ready, true);
        assert_eq!(until(&mut health, &mut now, Probed::Draining, false), 1);
        (0..5).for_each(|_| health.probed(Probed::Failed, now));
        assert_eq!(until(&mut health, &mut now, Probed::Ready, true), 1);
    }
}
