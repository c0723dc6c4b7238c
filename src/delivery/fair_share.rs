//! Fair shares of a profile: first the companies share alike, whatever they have to send, then the functions of each share
//! what their company got. What that costs grows with who waits and not with how much.

use std::collections::{BTreeMap, HashMap};

use crate::model::{CompanyId, Function, Lane};

/// Who came first last time, so that nobody always does.
#[derive(Debug, Default)]
pub(super) struct Shares {
    company: Option<CompanyId>,
    /// Of each company that ever waited; an environment has so many and no more.
    functions: HashMap<CompanyId, Option<Function>>,
}

impl Shares {
    /// How many messages each lane may take of so many; lanes that get none are left out.
    pub(super) fn of(&mut self, lanes: Vec<Lane>, room: usize) -> Vec<(Lane, usize)> {
        let mut companies: BTreeMap<CompanyId, Vec<Function>> = BTreeMap::new();
        for Lane { company, function } in lanes {
            companies.entry(company).or_default().push(function);
        }
        let waiting = companies.keys().cloned().collect();
        let mut shares = Vec::new();
        for (company, room) in split(waiting, &mut self.company, room) {
            let mut functions = companies.remove(&company).unwrap_or_default();
            functions.sort_unstable();
            let last = self.functions.entry(company.clone()).or_default();
            let own = split(functions, last, room).into_iter();
            shares.extend(own.map(|(function, take)| (Lane { company: company.clone(), function }, take)));
        }
        shares
    }
}

/// Splits room alike among those that wait, who are sorted. `last` is who had its turn; the next one begins.
fn split<T: Ord + Clone>(mut waiting: Vec<T>, last: &mut Option<T>, room: usize) -> Vec<(T, usize)> {
    let count = waiting.len();
    if count == 0 || room == 0 {
        return Vec::new();
    }
    let begin = waiting.partition_point(|one| last.as_ref().is_some_and(|last| one <= last));
    waiting.rotate_left(begin % count);
    // Where there is not enough for everybody, the next turn goes on behind the last one that got something.
    *last = waiting.get(if room < count { room - 1 } else { 0 }).cloned();
    let mut left = room;
    let mut shares = Vec::new();
    for (index, one) in waiting.into_iter().enumerate() {
        let share = left.div_ceil(count - index);
        if share == 0 {
            break;
        }
        left -= share;
        shares.push((one, share));
    }
    shares
}
