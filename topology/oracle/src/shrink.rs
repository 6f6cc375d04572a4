//! Makes a differing case smaller while it still differs.

use crate::case::{Case, Op};

/// The smallest case found for which `differs` still holds.
pub fn shrink(case: Case, mut differs: impl FnMut(&Case) -> bool) -> Case {
    let mut smallest = case;
    loop {
        let tried = fewer_inputs(&smallest).into_iter().chain(fewer_operators(&smallest));
        match tried.into_iter().find(|case| differs(case)) {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}

fn fewer_inputs(case: &Case) -> Vec<Case> {
    let count = case.inputs.len();
    let mut found = Vec::new();
    let mut length = count / 2;
    while length > 0 {
        for start in (0..count).step_by(length).rev() {
            let mut fewer = case.clone();
            fewer.inputs.drain(start..(start + length).min(count));
            found.push(fewer);
        }
        length /= 2;
    }
    found
}

fn fewer_operators(case: &Case) -> Vec<Case> {
    let read = |ops: &[Op], id: &str| {
        ops.iter().any(|op| {
            let inputs = op.from.iter().chain(&op.with);
            inputs.into_iter().any(|input| input == id || input.starts_with(&format!("{id}.")))
        })
    };
    let mut found = Vec::new();
    for (at, op) in case.operators.iter().enumerate().rev() {
        let mut fewer = case.clone();
        fewer.operators.remove(at);
        if read(&fewer.operators, &op.id) {
            // Those that read it read what it read.
            let Some(from) = &op.from else { continue };
            for other in &mut fewer.operators {
                for input in other.from.iter_mut().chain(&mut other.with) {
                    if *input == op.id {
                        input.clone_from(from);
                    }
                }
            }
        }
        let topics: Vec<_> = fewer.operators.iter().filter_map(|op| op.topic.clone()).collect();
        fewer
            .inputs
            .retain(|input| input.topic.as_ref().is_none_or(|topic| topics.contains(topic)));
        found.push(fewer);
    }
    found
}
