//! `gatherd status`, `top` and `graph` through the real program.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use support::gatherd::{IDLE, Workplace, wait_for_lines};
use support::server::{Server, reply};
use support::wait_until;

const CHAIN: &str = r#"
    [pipeline.numbers]
    from  = { items = { range = [1, 5] } }
    steps = [ { where = ". != 2" }, { map = "{n: .}" } ]
    to    = ["work", "kept"]

    [pipeline.squares]
    from  = { queue = "work" }
    steps = [ { map = ".n * .n" } ]
    to    = [ { file = "squares.ndjson" } ]

    [queue.work]

    [sink.kept]
    file = "kept.ndjson"
"#;

#[test]
fn status_shows_each_pipeline_sink_and_queue() {
    let workplace = Workplace::new(&format!("{CHAIN}{IDLE}"));
    let _daemon = workplace.start();
    wait_for_lines(&workplace, "squares.ndjson", 4);
    wait_until("all is counted", || {
        let told = workplace.gatherd(&["status", "--json"]).stdout;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        told["pipelines"][1]["delivered"] == 4
    });
    for command in ["status", "top"] {
        let shown = workplace.gatherd(&[command]);
        assert_eq!(shown.code(), Some(0), "{shown:?}");
        let row = |first: &str| {
            let line = shown.stdout.lines().find(|line| line.split_whitespace().next() == Some(first));
            line.unwrap_or_else(|| panic!("no row {first}: {}", shown.stdout)).to_owned()
        };
        let cells = |first: &str| row(first).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells("numbers")[2], "5", "{}", shown.stdout);
        assert_eq!(cells("numbers")[4..6], ["8", "1"], "{}", shown.stdout);
        assert_eq!(cells("kept")[1], "works");
        assert_eq!(cells("work")[1], "works", "a queue is where items go to");
        assert!(row("PIPELINE").contains("PER SECOND"), "{}", shown.stdout);
    }
}

#[test]
fn what_a_rate_holds_back_is_no_write() {
    let server = Server::saying(reply("204 No Content", &[], ""));
    let workplace = Workplace::new(&format!(
        r#"
        [http.slow]
        rate  = "20/s"
        burst = 1

        [pipeline.numbers]
        from = {{ items = {{ range = [1, 5] }} }}
        to   = [ {{ http = {{ via = "slow", url = "{}" }}, workers = 3 }} ]
        {IDLE}
        "#,
        server.url("/")
    ));
    let _daemon = workplace.start();
    let told =
        || -> serde_json::Value { serde_json::from_str(&workplace.gatherd(&["status", "--json"]).stdout).unwrap() };
    wait_until("all is delivered", || told()["pipelines"][0]["delivered"] == 5);
    assert_eq!(told()["sinks"][0]["writes"]["count"], 5);
}

#[test]
fn the_queue_of_a_stage_shows_only_while_something_is_in_it() {
    let server = Server::saying(reply("200 OK", &[], "{}"));
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.pages]
        from  = {{ every = "24h" }}
        steps = [ {{ get = "{}" }} ]
        to    = []
        "#,
        server.url("/")
    ));
    let _daemon = workplace.start();
    assert!(workplace.gatherd(&["status", "--json"]).stdout.contains("stage.pages.get"));
    let shown = workplace.gatherd(&["status"]).stdout;
    assert!(shown.contains("pages") && !shown.contains("stage."), "{shown}");
}

#[test]
fn without_a_daemon_the_way_out_is_named() {
    let workplace = Workplace::new(IDLE);
    for command in ["status", "top", "graph"] {
        let shown = workplace.gatherd(&[command]);
        assert_eq!(shown.code(), Some(1), "{shown:?}");
        assert!(shown.stderr.contains("no gatherd runs with the state folder `gatherd-state`"), "{shown:?}");
    }
}

#[test]
fn a_graph_is_the_same_of_a_config_and_of_what_runs() {
    let workplace = Workplace::new(&format!("{CHAIN}{IDLE}"));
    let of_config = |format: &str| {
        let shown = workplace.gatherd(&["graph", "gatherd.toml", "--format", format]);
        assert_eq!(shown.code(), Some(0), "{shown:?}");
        shown.stdout
    };
    assert_eq!(
        of_config("text"),
        "numbers: items → where → map → (work), [kept]\n\
         squares: (work) → map → [squares.file]\n\
         idle: every → nowhere\n"
    );
    let dot = of_config("dot");
    assert!(dot.starts_with("digraph gatherd {\n") && dot.contains("label=\"work\", shape=cylinder"), "{dot}");
    assert_eq!(dot.matches(" -> ").count(), 7, "{dot}");
    let mermaid = of_config("mermaid");
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("[(\"work\")]"), "{mermaid}");
    assert_eq!(mermaid.matches(" --> ").count(), 7, "{mermaid}");

    let _daemon = workplace.start();
    for format in ["text", "dot", "mermaid"] {
        let shown = workplace.gatherd(&["graph", "--format", format]);
        assert_eq!(shown.stdout, of_config(format), "{shown:?}");
    }
}
