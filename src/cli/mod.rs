//! The command line: one file a command.

mod access;
mod check;
mod dead;
mod demo;
mod explain;
mod generate;
mod graph;
mod kinds;
mod mistakes;
mod new;
mod output;
mod plan;
mod progress;
mod record;
mod rehearsal;
mod reload;
mod run;
mod schema;
mod state;
mod status;
mod store;
mod switches;
mod tap;
mod test;
mod try_url;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use log::LevelFilter;

use crate::telemetry::{LogFormat, start_log};

/// Exit code for a wrong command line.
pub const EXIT_USAGE: u8 = 2;

/// Exit code for a config with mistakes (EX_CONFIG of sysexits.h, as systemd knows it).
pub const EXIT_CONFIG: u8 = 78;

/// gatherd gathers from the network without losing anything.
#[derive(Debug, Parser)]
#[command(name = "gatherd", version = env!("GATHERD_VERSION"), about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How a line of the log is written.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormatArgument,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormatArgument {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// See gatherd at work: a sample API on this machine, and a pipeline that gathers from it.
    Demo(demo::DemoArguments),
    /// Run the pipelines of a config, as a daemon or once.
    Run(run::RunArguments),
    /// Check a config, without going to the network.
    Check(check::CheckArguments),
    /// Show a config with every default filled in.
    Explain(explain::ExplainArguments),
    /// Show the sources, steps and sinks, or one of them with its settings and a sample.
    Kinds(kinds::KindsArguments),
    /// Fetch one thing, and see what each step makes of it.
    Try(try_url::TryArguments),
    /// Test pipelines: replies that are given, items that are expected. No network, and no time passes.
    Test(test::TestArguments),
    /// Run a pipeline once, and write what servers replied as a test.
    Record(record::RecordArguments),
    /// Print a commented config to start from.
    New(new::NewArguments),
    /// Print the JSON Schema of the config, for editors that complete and check TOML.
    Schema,
    /// Show how the gatherd that runs is doing.
    Status(status::StatusArguments),
    /// Watch how the gatherd that runs is doing.
    Top(status::TopArguments),
    /// See items of the gatherd that runs as they pass, some of them, with secrets masked.
    Tap(tap::TapArguments),
    /// Draw the pipelines of a config, or of the gatherd that runs.
    Graph(graph::GraphArguments),
    /// Pause pipelines: their sources make no more items, also after a restart.
    Pause(switches::SwitchArguments),
    /// Let paused pipelines go on.
    Resume(switches::SwitchArguments),
    /// Have the schedules of pipelines tick at once.
    Trigger(switches::SwitchArguments),
    /// Show what another config would change: pipelines, state, and the load of each host.
    Plan(plan::PlanArguments),
    /// Have the daemon read its config again.
    Reload(StateArgument),
    /// Look at the items that were given up.
    Dead(dead::DeadArguments),
    /// See how far everything has come: positions, cursors and runs; or change it.
    State(state::StateArguments),
    /// Check the store where gatherd keeps its state, show what it holds, or give back its unused space.
    Store(store::StoreArguments),
    /// Write man pages and shell completions into a folder.
    #[command(hide = true)]
    Generate(generate::GenerateArguments),
}

/// Where a process keeps its state, for the commands that look at it and know nothing of its config.
#[derive(Debug, clap::Args)]
struct StateArgument {
    /// The state folder, where the config's `[service] state` names another than the default [default:
    /// $STATE_DIRECTORY, else ./gatherd-state].
    #[arg(long, value_name = "FOLDER", global = true)]
    state: Option<PathBuf>,
}

/// Where a process keeps its state, for the commands that read its config.
#[derive(Debug, clap::Args)]
struct ConfiguredStateArgument {
    /// The state folder [default: `[service] state`, else $STATE_DIRECTORY, else ./gatherd-state].
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
}

/// Carries out what the command line says.
pub fn main() -> ExitCode {
    let Arguments { command, log_format } = Arguments::parse();
    let default_level = match command {
        Command::Run(_) | Command::Demo(_) => LevelFilter::Info,
        // What goes wrong is their answer.
        Command::Try(_) | Command::Test(_) | Command::Record(_) => LevelFilter::Off,
        _ => LevelFilter::Warn,
    };
    let log_format = match log_format {
        LogFormatArgument::Text => LogFormat::Text,
        LogFormatArgument::Json => LogFormat::Json,
    };
    start_log(log_format, default_level);
    match command {
        Command::Run(arguments) => run::run(arguments),
        command => carry_out(command),
    }
}

/// Not inlined: a daemon need not hold the code of all other commands in memory.
#[inline(never)]
fn carry_out(command: Command) -> ExitCode {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Kinds(arguments) => kinds::kinds(&arguments),
        Command::Try(arguments) => try_url::try_url(&arguments),
        Command::Test(arguments) => test::test(&arguments),
        Command::Record(arguments) => record::record(&arguments),
        Command::Generate(arguments) => generate::generate(&arguments),
        Command::New(arguments) => new::new(&arguments),
        Command::Schema => schema::schema(),
        Command::Status(arguments) => status::status(arguments),
        Command::Top(arguments) => status::top(arguments),
        Command::Tap(arguments) => tap::tap(arguments),
        Command::Graph(arguments) => graph::graph(arguments),
        Command::Pause(arguments) => switches::pause(arguments, true),
        Command::Resume(arguments) => switches::pause(arguments, false),
        Command::Trigger(arguments) => switches::trigger(arguments),
        Command::Plan(arguments) => plan::plan(arguments),
        Command::Reload(state) => reload::reload(state),
        Command::Dead(arguments) => dead::dead(arguments),
        Command::State(arguments) => state::state(arguments),
        Command::Store(arguments) => store::store(arguments),
    }
}
