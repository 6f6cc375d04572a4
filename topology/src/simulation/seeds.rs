//! Random lives of an application. `HEADWATER_SEED=n` runs one seed again; `HEADWATER_CASES=n` sets
//! how many are run.

use crate::simulation::world::{Tally, World};

fn run(seed: u64, tally: &mut Tally) -> u64 {
    let mut world = World::new(seed);
    world.run(300);
    let wrong = world.finish();
    assert!(wrong.is_empty(), "HEADWATER_SEED={seed}:\n{}", wrong.join("\n"));
    let one = &world.tally;
    tally.seeds += one.seeds;
    tally.records += one.records;
    tally.turns += one.turns;
    tally.crashes += one.crashes;
    tally.power_cuts += one.power_cuts;
    tally.failed_calls += one.failed_calls;
    tally.deaths_of_threads += one.deaths_of_threads;
    tally.moves += one.moves;
    tally.aborts += one.aborts;
    tally.dead_letters += one.dead_letters;
    tally.cuts_of_stores += one.cuts_of_stores;
    tally.restored += one.restored;
    world.trace()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
#[allow(clippy::print_stdout, reason = "what a random test prints leads back to its run")]
fn output_and_stores_are_a_fold_of_the_input_whatever_befalls_the_application() {
    let mut tally = Tally::default();
    if let Some(seed) = number("HEADWATER_SEED") {
        run(seed, &mut tally);
        println!("{tally:?}");
        return;
    }
    let cases = number("HEADWATER_CASES").unwrap_or(100);
    let first = fastrand::u64(0..1 << 40);
    println!("seeds {first} to {}", first + cases);
    for seed in first..first + cases {
        let trace = run(seed, &mut tally);
        if seed % 100 == 0 {
            let again = run(seed, &mut Tally::default());
            assert_eq!(again, trace, "HEADWATER_SEED={seed}: another run went another way");
        }
    }
    println!("{tally:?}");
    assert!(tally.crashes > cases && tally.deaths_of_threads > cases, "too gentle: {tally:?}");
}
