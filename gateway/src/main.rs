//! The program `dht-gateway`.

use std::io::Write;
use std::process::ExitCode;

use argh::FromArgs;
use dht_client::Client;
use dht_gateway::limits::{CONNECTIONS_MAX, DESCRIPTORS_KEPT};
use dht_gateway::{App, Ending, Options, router, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let options = match Options::from_args(&["dht-gateway"], &words) {
        Ok(options) => options,
        Err(exit) if exit.status.is_ok() => {
            say(exit.output.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(exit) => return fail(&exit.output.split_whitespace().collect::<Vec<_>>().join(" "), 2),
    };
    if options.version {
        say(concat!("dht-gateway ", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let servers = match options.check() {
        Ok(servers) => servers,
        Err(what) => return fail(&what, 2),
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}"), 1),
    };
    runtime.block_on(async {
        let listener = match TcpListener::bind(options.listen).await {
            Ok(listener) => listener,
            Err(error) => return fail(&format!("cannot listen on {}: {error}", options.listen), 2),
        };
        let address = listener.local_addr().unwrap_or(options.listen);
        let (end, ending) = Ending::channel();
        let builder = Client::builder().servers(servers).software(concat!("dht-gateway/", env!("CARGO_PKG_VERSION")));
        let app = App::new(builder, options.connections, ending.clone());
        tokio::spawn(async move {
            wait_for_signal().await;
            log::info!("answering what was taken, then ending");
            let _ = end.send(true);
            wait_for_signal().await;
            log::warn!("ending at once");
            std::process::exit(1);
        });
        say(&format!("dht-gateway: listens on http://{address}"));
        match serve(listener, router(app, options.accepted()), connections(), ending).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("the server failed: {error}"), 1),
        }
    })
}

/// Returns how many connections of HTTP clients there may be, after raising the limit on open files.
fn connections() -> u32 {
    let files = rlimit::increase_nofile_limit((CONNECTIONS_MAX + DESCRIPTORS_KEPT).into()).unwrap_or(1024);
    u32::try_from(files).unwrap_or(u32::MAX).saturating_sub(DESCRIPTORS_KEPT).clamp(1, CONNECTIONS_MAX)
}

async fn wait_for_signal() {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Prints a line to standard output, where scripts read the address.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn fail(what: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "dht-gateway: {what}");
    ExitCode::from(code)
}
