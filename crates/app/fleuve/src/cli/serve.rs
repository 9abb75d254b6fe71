use std::process::ExitCode;

use fleuve_types::{Error, Result};

use super::args::{ServeArgs, SettingArgs};
use super::term::Paint;
use crate::config::{self, Config, FlagValue, Loaded};
use crate::doors::OpenDoors;
use crate::platform;

/// `fleuve serve`
pub fn run(args: &ServeArgs) -> Result<ExitCode> {
    let Loaded { config, .. } = load(&args.settings)?;
    start_logging(&config);
    let runtime = super::threads()
        .thread_name("fleuve")
        .build()
        .map_err(|e| Error::io("cannot start the server's threads", e))?;
    let shown = config.clone();
    runtime.block_on(platform::serve(config, move |doors| announce(&shown, doors)))?;
    Ok(ExitCode::SUCCESS)
}

/// The settings that the command line, the environment and the file give.
pub(super) fn load(args: &SettingArgs) -> Result<Loaded> {
    // A shell that exports FLEUVE_HTTP= means "not set".
    let variables = std::env::vars().filter(|(_, value)| !value.is_empty());
    config::load(args.config.as_deref(), variables, &flags(args))
}

fn flags(args: &SettingArgs) -> Vec<FlagValue> {
    let own = [
        ("data", &args.data),
        ("kafka", &args.kafka),
        ("postgres", &args.postgres),
        ("http", &args.http),
        ("registry", &args.registry),
    ];
    let mut flags: Vec<FlagValue> = args
        .set
        .iter()
        .map(|(key, text)| FlagValue { key: key.clone(), flag: "--set".into(), text: text.clone() })
        .collect();
    flags.extend(
        own.into_iter().filter_map(|(key, text)| {
            Some(FlagValue { key: key.into(), flag: format!("--{key}"), text: text.clone()? })
        }),
    );
    if args.insecure {
        flags.push(FlagValue { key: "insecure".into(), flag: "--insecure".into(), text: "true".into() });
    }
    flags
}

fn start_logging(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(&config.log_level);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        // Where nothing can be written that cannot be either, and nothing stops for it.
        .log_internal_errors(false)
        .init();
}

/// Says where the doors are and how to use them.
fn announce(config: &Config, doors: &OpenDoors) {
    let paint = Paint::stdout();
    println!("{} {}   data in {}", paint.bold("fleuve"), env!("CARGO_PKG_VERSION"), config.data.display());
    let line = |name: &str, address: Option<String>, how: String| match address {
        Some(address) => println!("  {:<9} {}   {}", name, paint.cyan(&format!("{address:<22}")), paint.dim(&how)),
        None => println!("  {name:<9} off"),
    };
    let text = |a: &Option<std::net::SocketAddr>| a.map(|a| a.to_string());
    let kafka = config.kafka_advertised.as_ref().map(ToString::to_string).or_else(|| text(&doors.kafka));
    let produce = kafka.map(|a| format!("kcat -b {a} -L")).unwrap_or_default();
    line("kafka", text(&doors.kafka), produce);
    let psql = doors.postgres.map(|a| format!("psql -h {} -p {} -U fleuve main", a.ip(), a.port())).unwrap_or_default();
    line("postgres", text(&doors.postgres), psql);
    line("http", doors.http.map(|a| format!("http://{a}")), "status page, API, /metrics".into());
    line("registry", doors.registry.map(|a| format!("http://{a}")), "schema.registry.url".into());
    println!("Ready. Ctrl-C stops.");
}
