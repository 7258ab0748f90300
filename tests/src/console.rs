// SPDX-License-Identifier: MIT OR Apache-2.0
//! A running QEMU and its serial console: read into memory and a log file, searched with a deadline, written to.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Context, Failure, Result, fail};
use crate::machine::Machine;
use crate::workspace::create_directory;

/// What dom0, Xen and Xenolith say when they are broken; waiting on after one of these only costs time.
const FATAL: &[&str] = &["Kernel panic - not syncing", "Panic on CPU", "(XL) ****"];

/// Time for the rest of a last message to arrive.
const SETTLE: Duration = Duration::from_secs(1);

/// What shows where a machine that stands still stands: Ctrl-a three times, which gives the input to the hypervisor,
/// and keys that both hypervisors have. Only the log has the answers.
const WHERE: &[&str] = &["\x01\x01\x01", "d", "q", "0", "e"];

/// Longest text of the console that a failure quotes.
const QUOTED: usize = 1500;

/// A QEMU process; dropping it kills it.
pub struct Console {
    qemu: Child,
    input: ChildStdin,
    output: Arc<Output>,
    cursor: usize,
    log: PathBuf,
}

#[derive(Default)]
struct Output {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    text: String,
    ended: bool,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scales a deadline by `XENOLITH_TIMEOUT_SCALE`, for machines slower or busier than usual.
#[must_use]
pub fn scaled(deadline: Duration) -> Duration {
    let scale = std::env::var("XENOLITH_TIMEOUT_SCALE").ok();
    let scale = scale.and_then(|s| s.parse::<f64>().ok()).unwrap_or(1.0);
    deadline.mul_f64(scale.clamp(0.1, 100.0))
}

impl Console {
    /// Starts QEMU for `machine`, logging its console to `log`.
    ///
    /// # Errors
    /// When an image is missing, or QEMU or the log cannot be started.
    pub fn start(machine: &Machine, log: &Path) -> Result<Self> {
        let mut qemu = machine.command()?;
        qemu.args(["-serial", "stdio", "-monitor", "none"]);
        if let Some(parent) = log.parent() {
            create_directory(parent)?;
        }
        let mut file = File::create(log).context(|| format!("creating {}", log.display()))?;
        writeln!(file, "{qemu:?}").context(|| format!("writing {}", log.display()))?;
        let mut child = die_with_parent(&qemu)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| "starting qemu-system-aarch64 (`make deps` installs it)".to_owned())?;
        let (Some(input), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return fail("QEMU's pipes are missing");
        };
        let output = Arc::new(Output::default());
        let file = Arc::new(Mutex::new(file));
        follow(stdout, &output, &file, true);
        follow(stderr, &output, &file, false);
        Ok(Self {
            qemu: child,
            input,
            output,
            cursor: 0,
            log: log.to_path_buf(),
        })
    }

    /// Waits until `pattern` appears after what was matched before; returns the text in front of it.
    ///
    /// # Errors
    /// When the deadline passes, QEMU ends, or the console shows that no more will come.
    pub fn expect(&mut self, pattern: &str, deadline: Duration) -> Result<String> {
        let end = Instant::now() + scaled(deadline);
        let output = Arc::clone(&self.output);
        let mut state = output.lock();
        loop {
            if let Some(before) = self.take_match(&state, pattern) {
                return Ok(before);
            }
            let left = end.saturating_duration_since(Instant::now());
            if let Some(reason) = self.hopeless(&state, left) {
                drop(state);
                thread::sleep(SETTLE);
                if let Some(late) = self.take_match(&output.lock(), pattern) {
                    return Ok(late);
                }
                let failure = self.failure(&format!("{reason} while waiting for {pattern:?}"));
                self.ask_where();
                return Err(failure);
            }
            let (next, _) = output
                .grown
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
    }

    /// The text before the next `pattern`, which is then behind the cursor.
    fn take_match(&mut self, state: &State, pattern: &str) -> Option<String> {
        let new = &state.text[self.cursor..];
        let (before, _) = new.split_once(pattern)?;
        self.cursor += before.len() + pattern.len();
        Some(before.to_owned())
    }

    /// Why waiting on is of no use, if it is.
    fn hopeless(&self, state: &State, left: Duration) -> Option<String> {
        let new = &state.text[self.cursor..];
        if let Some(fatal) = FATAL.iter().find(|word| new.contains(**word)) {
            return Some(format!("'{fatal}' appeared"));
        }
        if state.ended {
            return Some("QEMU ended".to_owned());
        }
        left.is_zero().then(|| "the time ran out".to_owned())
    }

    /// Writes `text` to the console.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.input
            .write_all(text.as_bytes())
            .and_then(|()| self.input.flush())
            .map_err(|error| self.failure(&format!("writing to the console: {error}")))
    }

    /// Waits for QEMU to end by itself.
    ///
    /// # Errors
    /// When it does not within `deadline`, or ends with an error.
    pub fn wait_for_end(&mut self, deadline: Duration) -> Result<()> {
        match self.end_within(deadline)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.failure(&format!("QEMU ended with {status}"))),
            None => {
                let seconds = scaled(deadline).as_secs();
                let failure = self.failure(&format!("QEMU still runs after {seconds} s"));
                self.ask_where();
                Err(failure)
            }
        }
    }

    /// Waits as long as QEMU is to go on.
    ///
    /// # Errors
    /// When it ends meanwhile.
    pub fn goes_on_for(&mut self, span: Duration) -> Result<()> {
        match self.end_within(span)? {
            Some(status) => Err(self.failure(&format!("QEMU ended with {status}"))),
            None => Ok(()),
        }
    }

    fn end_within(&mut self, deadline: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + scaled(deadline);
        while Instant::now() < end {
            let status = self.qemu.try_wait().context(|| "waiting for QEMU".into())?;
            if status.is_some() {
                // What it said last may still be in the pipe.
                while !self.output.lock().ended && Instant::now() < end {
                    thread::sleep(Duration::from_millis(20));
                }
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }

    /// Has the hypervisor tell the log what it and its guests do.
    fn ask_where(&mut self) {
        for keys in WHERE {
            if self.send(keys).is_err() {
                return;
            }
            thread::sleep(SETTLE);
        }
    }

    /// Everything the console has shown so far.
    #[must_use]
    pub fn transcript(&self) -> String {
        self.output.lock().text.clone()
    }

    /// What came after what was matched last.
    #[must_use]
    pub fn rest(&self) -> String {
        self.output.lock().text[self.cursor..].to_owned()
    }

    /// A failure that quotes the end of the console and names its log.
    #[must_use]
    pub fn failure(&self, message: &str) -> Failure {
        let text = self.transcript();
        let mut start = text.len().saturating_sub(QUOTED);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        let tail: String = text[start..]
            .lines()
            .map(|line| format!("    | {line}\n"))
            .collect();
        Failure::new(format!("{message}\n{tail}    log: {}", self.log.display()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Wraps `command` so that the kernel kills it when the thread that starts it dies, even by a signal.
fn die_with_parent(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

/// Copies `source` to the log and, without carriage returns, to `output` until it ends.
fn follow(
    mut source: impl Read + Send + 'static,
    output: &Arc<Output>,
    log: &Arc<Mutex<File>>,
    is_console: bool,
) {
    let output = Arc::clone(output);
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut buffer = [0_u8; 4096];
        loop {
            let count = source.read(&mut buffer).unwrap_or(0);
            let bytes = &buffer[..count];
            let _ = log
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_all(bytes);
            let mut state = output.lock();
            // Bytes, not UTF-8, come over a UART: each is taken for the character of its number.
            let text = bytes.iter().filter(|byte| **byte != b'\r');
            state.text.extend(text.map(|byte| char::from(*byte)));
            if count == 0 && is_console {
                state.ended = true;
            }
            drop(state);
            output.grown.notify_all();
            if count == 0 {
                return;
            }
        }
    });
}
