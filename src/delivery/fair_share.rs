//! Fair share of a profile: companies with due mail get equal shares of the room, and the functions of a company divide its share
//! equally.
//!
//! The scheduler calls [`FairShare::divide`] with the lanes that may send and the room of the profile. Its cost grows with the
//! number of lanes, not with the number of messages. It does not know how much mail a lane has: a share that is not used is divided
//! again at the next turn. If there is less room than lanes, the next division continues with those that got nothing. It does not
//! know limits, holds or times.

use std::collections::{BTreeMap, HashMap};

use crate::model::{CompanyId, Function, Lane};

/// The positions at which the next division continues, so that no lane is always first.
#[derive(Debug, Default)]
pub(super) struct FairShare {
    company: Option<CompanyId>,
    /// One entry per company of the environment at most.
    functions: HashMap<CompanyId, Option<Function>>,
}

impl FairShare {
    /// Divides room for `room` messages among lanes. Lanes that get nothing are not in the result.
    pub(super) fn divide(&mut self, lanes: Vec<Lane>, room: usize) -> Vec<(Lane, usize)> {
        let mut companies: BTreeMap<CompanyId, Vec<Function>> = BTreeMap::new();
        for Lane { company, function } in lanes {
            companies.entry(company).or_default().push(function);
        }
        let waiting = companies.keys().cloned().collect();
        let mut shares = Vec::new();
        for (company, room) in divide_equally(waiting, &mut self.company, room) {
            let mut functions = companies.remove(&company).unwrap_or_default();
            functions.sort_unstable();
            let last = self.functions.entry(company.clone()).or_default();
            let own = divide_equally(functions, last, room).into_iter();
            shares.extend(own.map(|(function, take)| (Lane { company: company.clone(), function }, take)));
        }
        shares
    }
}

/// Divides room equally among sorted items. `last` is the item at which the previous division ended; the next one is first.
fn divide_equally<T: Ord + Clone>(mut waiting: Vec<T>, last: &mut Option<T>, room: usize) -> Vec<(T, usize)> {
    let count = waiting.len();
    if count == 0 || room == 0 {
        return Vec::new();
    }
    let begin = waiting.partition_point(|item| last.as_ref().is_some_and(|last| item <= last));
    waiting.rotate_left(begin % count);
    // If there is not enough for all, the next division continues after the last item that got something.
    *last = waiting.get(if room < count { room - 1 } else { 0 }).cloned();
    let mut left = room;
    let mut shares = Vec::new();
    for (index, item) in waiting.into_iter().enumerate() {
        let share = left.div_ceil(count - index);
        if share == 0 {
            break;
        }
        left -= share;
        shares.push((item, share));
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(names: &[(&str, &str)]) -> Vec<Lane> {
        let lane = |(company, function): &(&str, &str)| Lane {
            company: company.parse().unwrap(),
            function: function.parse().unwrap(),
        };
        names.iter().map(lane).collect()
    }

    fn total(shares: &[(Lane, usize)], company: &str) -> usize {
        shares.iter().filter(|(lane, _)| lane.company.as_str() == company).map(|(_, share)| share).sum()
    }

    #[test]
    fn companies_share_equally_however_many_functions_they_have() {
        let waiting =
            lanes(&[("A", "default"), ("A", "all-reports"), ("A", "electronic-signatures"), ("B", "default")]);
        let shares = FairShare::default().divide(waiting, 10);
        assert_eq!((total(&shares, "A"), total(&shares, "B")), (5, 5));
    }

    #[test]
    fn the_companies_take_turns_when_there_is_room_for_one() {
        let waiting = lanes(&[("A", "default"), ("B", "default"), ("C", "default")]);
        let mut share = FairShare::default();
        let mut order = Vec::new();
        for _ in 0..6 {
            let shares = share.divide(waiting.clone(), 1);
            assert_eq!(shares.len(), 1);
            order.push(shares[0].0.company.to_string());
        }
        order[..3].sort_unstable();
        assert_eq!(order[..3], ["A", "B", "C"]);
        assert!(share.divide(waiting, 0).is_empty());
        assert!(share.divide(Vec::new(), 5).is_empty());
    }
}
