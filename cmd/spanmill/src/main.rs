//! The `spanmill` process.

mod args;

use std::env;
use std::io::{Write, stderr, stdout};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use app::{Exit, StartError};
use args::Args;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long a thread for work that blocks waits for more. The allocator keeps what a
/// thread has freed until the thread ends: after a collection of 100 k series 2.3 MB
/// (docs/adr/0010-mimalloc.md).
const KEEP_ALIVE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    forgo_huge_pages();
    let args = Args::read();
    if args.version {
        // Nothing is left to do if nobody reads it.
        let _ = writeln!(stdout(), "{}", app::version::describe());
        return ExitCode::SUCCESS;
    }
    let result = if let Some(shown) = args.print_config {
        app::print_config(&args.options(), shown).map(|yaml| {
            let _ = stdout().write_all(yaml.as_bytes());
            Exit::Stopped
        })
    } else if args.verify {
        app::verify(&args.options()).map(|()| Exit::Stopped)
    } else {
        give_freed_memory_back_at_once();
        serve(&args)
    };
    match result {
        Ok(Exit::Stopped) => ExitCode::SUCCESS,
        // Threads that still work are not waited for.
        Ok(Exit::Interrupted { code }) => std::process::exit(i32::from(code)),
        Err(error) => {
            let _ = writeln!(stderr(), "spanmill: {}", error.report());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Keeps the system from giving us 2 MiB where a few KiB are used: a process
/// with 100 k series grows by half as much again then (docs/adr/0010-mimalloc.md).
fn forgo_huge_pages() {
    // Where that cannot be had, it costs memory and nothing else.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Tells the allocator to give the system what is freed at once instead of a second
/// later, and only if it is used then, and to look for what is free after 100 slow
/// allocations instead of 10,000: after a burst of pushes a process keeps their memory
/// otherwise (docs/adr/0010-mimalloc.md).
///
/// It reads its options when a process begins, so this begins anew, once, under the
/// same process id; options that the environment has are left as they are.
fn give_freed_memory_back_at_once() {
    const OPTIONS: [(&str, &str); 2] = [
        ("MIMALLOC_PURGE_DELAY", "0"),
        ("MIMALLOC_GENERIC_COLLECT", "100"),
    ];
    let missing = || {
        let options = OPTIONS.into_iter();
        options.filter(|(option, _)| env::var_os(option).is_none())
    };
    if missing().next().is_none() {
        return;
    }
    let mut arguments = env::args_os();
    let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) else {
        return;
    };
    // A loader that was given the program as an argument is another.
    if program.file_name() != Path::new(&name).file_name() {
        return;
    }
    // It returns only if it fails, which costs memory and nothing else.
    let _ = Command::new(program)
        .arg0(name)
        .args(arguments)
        .envs(missing())
        .exec();
}

fn serve(args: &Args) -> Result<Exit, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(KEEP_ALIVE)
        .build()
        .map_err(StartError::Runtime)?;
    let exit = runtime.block_on(app::run(&args.options()));
    // What outlived the deadline is not waited for.
    runtime.shutdown_background();
    exit
}
