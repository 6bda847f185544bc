//! Queues between pipelines, as their user meets them.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use support::gatherd::Workplace;

/// A queue with room for so few items that no batch fits into it whole.
fn small_queue(full: &str) -> Workplace {
    Workplace::new(&format!(
        r#"
        [pipeline.numbers]
        from = {{ items = {{ range = [1, 1000] }} }}
        to   = ["work"]

        [queue.work]
        items = 10
        full  = "{full}"

        [pipeline.work]
        from = {{ queue = "work" }}
        to   = [ {{ file = {{ path = "work.ndjson" }}, batch = 1 }} ]
        "#
    ))
}

#[test]
fn what_a_full_queue_has_no_room_for_waits_until_there_is_some() {
    let workplace = small_queue("block");
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let mut arrived: Vec<_> = workplace.values("work.ndjson").iter().map(|value| value.as_i64().unwrap()).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, Vec::from_iter(1..=1000));
}

#[test]
fn what_a_full_queue_refuses_is_kept_as_dead_letters_and_the_rest_goes_on() {
    let workplace = small_queue("dead_letter");
    workplace.run_once();
    let arrived = workplace.values("work.ndjson").len();
    let dead = workplace.dead_letters().len();
    assert!(arrived >= 10 && dead > 0, "{arrived} arrived, {dead} dead");
    assert_eq!(arrived + dead, 1000);
}

#[test]
fn what_has_a_higher_priority_comes_first_also_where_it_is_written_as_a_fraction() {
    let workplace = Workplace::new(
        r#"
        [pipeline.numbers]
        from = { items = [{ n = 1, urgency = 1.0 }, { n = 2, urgency = 3 }, { n = 3, urgency = 2.0 }, { n = 4 }] }
        to   = ["work"]

        [queue.work]
        priority = ".urgency"
        "#,
    );
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    workplace.write(
        "gatherd.toml",
        r#"
        [queue.work]
        [pipeline.work]
        from  = { queue = "work" }
        steps = [ { map = ".n" } ]
        to    = [ { file = "work.ndjson" } ]
        "#,
    );
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(workplace.values("work.ndjson"), [2, 3, 1, 4]);
}
