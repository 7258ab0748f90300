// SPDX-License-Identifier: MIT OR Apache-2.0
//! The values of options: their types and how they are written.

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Nothing.
    None,
    /// Errors.
    Error,
    /// And warnings.
    Warning,
    /// And notes.
    Info,
    /// And details.
    Debug,
}

/// Which messages are logged, always or if there are not too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threshold {
    /// Up to this level: always.
    pub always: Level,
    /// Up to this level: rate-limited.
    pub limited: Level,
}

/// What is put before a line of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timestamps {
    /// Nothing.
    None,
    /// Date and time.
    Date,
    /// Date and time with milliseconds.
    DateMs,
    /// Seconds since boot.
    Boot,
    /// The counter.
    Raw,
}

/// When free memory is scrubbed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootScrub {
    /// Not at boot.
    Off,
    /// Before dom0 starts.
    On,
    /// As `Off`: pages are scrubbed when they are given to a domain.
    Idle,
}

/// A scheduler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheduler {
    /// Shares by weight, Xen's second.
    Credit2,
    /// Shares by weight, Xen's first.
    Credit,
    /// One CPU per vCPU.
    Null,
    /// Deadlines.
    Rtds,
    /// Fixed time slots.
    Arinc653,
}

/// How dom0 gets at the console's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConSwitch {
    /// The letter that with Ctrl, typed three times, switches; `None` switches nothing.
    pub key: Option<u8>,
    /// Input goes to dom0 from the start.
    pub dom0_first: bool,
}

pub(super) fn truth(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("" | "yes" | "on" | "true" | "enable" | "1") => Some(true),
        Some("no" | "off" | "false" | "disable" | "0") => Some(false),
        Some(_) => None,
    }
}

pub(super) fn choice(value: &str, yes: &str, no: &str) -> Option<bool> {
    (value == yes || value == no).then_some(value == yes)
}

/// A number as C writes it: decimal, `0x` hexadecimal or `0` octal.
fn integer(text: &str) -> Option<u64> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x") {
        (hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    // `from_str_radix` would take a sign.
    let valid = digits.starts_with(|c: char| c.is_digit(radix));
    valid.then(|| u64::from_str_radix(digits, radix).ok())?
}

pub(super) fn number(text: &str) -> Option<u32> {
    u32::try_from(integer(text)?).ok()
}

/// A size: a number with a unit, in bytes. Without a unit it counts KiB.
pub fn size(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()? {
        b'T' | b't' => 40,
        b'G' | b'g' => 30,
        b'M' | b'm' => 20,
        b'K' | b'k' => 10,
        // In a hexadecimal number these are digits.
        b'B' | b'b' if !text.starts_with("0x") => 0,
        _ => return integer(text)?.checked_mul(1 << 10),
    };
    integer(&text[..text.len() - 1])?.checked_mul(1 << shift)
}

pub(super) fn console(value: &str) -> Option<bool> {
    let mut names = value.split(',');
    match names.clone().any(|name| name == "dtuart") {
        true => Some(true),
        false => names.all(|name| name == "none").then_some(false),
    }
}

pub(super) fn timestamps(value: &str) -> Option<Timestamps> {
    Some(match value {
        "none" => Timestamps::None,
        "date" => Timestamps::Date,
        "datems" => Timestamps::DateMs,
        "boot" => Timestamps::Boot,
        "raw" => Timestamps::Raw,
        _ => match truth(Some(value))? {
            true => Timestamps::Date,
            false => Timestamps::None,
        },
    })
}

pub(super) fn threshold(value: &str) -> Option<Threshold> {
    let (always, limited) = value.split_once('/').unwrap_or((value, value));
    Some(Threshold {
        always: level(always)?,
        limited: level(limited)?,
    })
}

fn level(value: &str) -> Option<Level> {
    Some(match value {
        "none" => Level::None,
        "error" => Level::Error,
        "warning" => Level::Warning,
        "info" => Level::Info,
        "debug" | "all" => Level::Debug,
        _ => return None,
    })
}

/// As the command line has it.
pub(super) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "all",
    }
}

/// As the command line has it.
pub(super) const fn timestamps_name(timestamps: Timestamps) -> &'static str {
    match timestamps {
        Timestamps::None => "none",
        Timestamps::Date => "date",
        Timestamps::DateMs => "datems",
        Timestamps::Boot => "boot",
        Timestamps::Raw => "raw",
    }
}

pub(super) fn conswitch(value: &str) -> Option<ConSwitch> {
    let mut letters = value.bytes();
    let key = letters.next()?.to_ascii_lowercase();
    Some(ConSwitch {
        key: key.is_ascii_lowercase().then_some(key),
        dom0_first: letters.next() != Some(b'x'),
    })
}

pub(super) fn bootscrub(value: &str) -> Option<BootScrub> {
    match value {
        "idle" => Some(BootScrub::Idle),
        _ => truth(Some(value)).map(|on| if on { BootScrub::On } else { BootScrub::Off }),
    }
}

pub(super) fn scheduler(value: &str) -> Option<Scheduler> {
    Some(match value {
        "credit2" => Scheduler::Credit2,
        "credit" => Scheduler::Credit,
        "null" => Scheduler::Null,
        "rtds" => Scheduler::Rtds,
        "arinc653" => Scheduler::Arinc653,
        _ => return None,
    })
}
