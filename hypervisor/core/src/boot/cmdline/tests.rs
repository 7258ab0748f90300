// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: defaults, options, sizes.

use super::*;
use proptest::prelude::*;

#[test]
fn defaults_are_xens() {
    let options = Options::parse("");
    assert_eq!(options.dom0_mem, None);
    assert_eq!(
        (
            options.gnttab_max_frames,
            options.gnttab_max_maptrack_frames
        ),
        (64, 1024)
    );
    assert_eq!(
        (options.conring_size, options.bootscrub),
        (16 << 10, BootScrub::Idle)
    );
    assert!(options.console && options.ext_regions && !options.vwfi_native);
    assert!(options.warnings.is_empty());
}

#[test]
fn a_usual_line_is_read() {
    let line = "console=dtuart dtuart=serial0:115200 dom0_mem=1024M dom0_max_vcpus=2  loglvl=all \
                guest_loglvl=none/all vwfi=native sched=null bootscrub=0 noreboot no-ext_regions \
                gnttab_max_frames=0x20 gnttab=max-ver:2,no-transitive conswitch=bx \
                console_timestamps=boot sync_console serrors=panic maxcpus=010 hmp-unsafe=no \
                sched_ratelimit_us=500";
    let options = Options::parse(line);
    assert_eq!(options.line, line);
    assert_eq!(options.warnings, [""; 0]);
    assert_eq!(options.dtuart, Some("serial0:115200"));
    assert_eq!(
        (options.dom0_mem, options.dom0_max_vcpus),
        (Some(1 << 30), Some(2))
    );
    assert_eq!(
        (options.loglvl.always, options.guest_loglvl.always),
        (Level::Debug, Level::None)
    );
    assert_eq!(options.guest_loglvl.limited, Level::Debug);
    assert_eq!(
        (options.sched, options.bootscrub),
        (Scheduler::Null, BootScrub::Off)
    );
    assert_eq!(options.sched_ratelimit_us, 500);
    assert!(options.vwfi_native && options.noreboot && !options.ext_regions);
    assert_eq!(options.gnttab_max_frames, 32);
    let switch = ConSwitch {
        key: Some(b'b'),
        dom0_first: false,
    };
    assert_eq!(options.conswitch, switch);
    assert_eq!(options.console_timestamps, Timestamps::Boot);
    assert!(options.serrors_panic);
    assert_eq!(options.maxcpus, Some(8));
}

#[test]
fn what_cannot_be_followed_is_told() {
    let options = Options::parse("dom0_mem=lots frobnicate xsm=flask hmp_unsafe=1 dom0_mem=2G");
    let warnings = [
        "option \"dom0_mem=lots\": malformed, ignored",
        "option \"frobnicate\": unknown, ignored",
        "option \"xsm=flask\": not supported, ignored",
    ];
    assert_eq!(options.warnings, warnings);
    assert_eq!(options.dom0_mem, Some(2 << 30));
}

#[test]
fn sizes_are_xens() {
    let cases = [
        ("512M", Some(512 << 20)),
        ("1g", Some(1 << 30)),
        ("4", Some(4 << 10)),
        ("100B", Some(100)),
        ("0x10K", Some(16 << 10)),
        ("0x1b", Some(27 << 10)),
        ("010k", Some(8 << 10)),
        ("1T", Some(1 << 40)),
        ("", None),
        ("M", None),
        ("0xM", None),
        ("-1M", None),
        ("+1M", None),
        ("1MM", None),
        ("99999999999T", None),
    ];
    for (text, bytes) in cases {
        assert_eq!(size(text), bytes, "{text}");
    }
}

proptest! {
    #[test]
    fn no_line_stops_the_boot(line in "\\PC*") {
        prop_assert_eq!(Options::parse(&line).line, &line);
    }

    #[test]
    fn no_value_stops_the_boot(
        name in "dom0_mem|conswitch|gnttab|loglvl|maxcpus|conring_size|bootscrub|console",
        value in "[0-9a-zA-ZxX:/,é+-]{0,12}",
    ) {
        Options::parse(&format!("{name}={value}"));
    }
}
