// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen's tools print, taken apart: lines of a name and a value, and tables.

/// The value of the line `NAME : VALUE`.
#[must_use]
pub fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(n, _)| n.trim() == name).map(|(_, v)| v.trim())
}

/// The words of the rows below the line that begins with the word `head`, up to an empty line.
#[must_use]
pub fn rows<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let is_head = |line: &&str| line.split_whitespace().next() == Some(head);
    let below = text.lines().skip_while(|line| !is_head(line)).skip(1);
    below
        .take_while(|line| !line.trim().is_empty() && !is_head(line))
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// The row below `head` whose first word is `name`.
#[must_use]
pub fn row<'a>(text: &'a str, head: &str, name: &str) -> Option<Vec<&'a str>> {
    rows(text, head)
        .into_iter()
        .find(|r| r.first() == Some(&name))
}

/// The row of `name` with the words of the heading: `("MEM(k)", "131072")` and so on.
#[must_use]
pub fn columns<'a>(text: &'a str, head: &str, name: &str) -> Option<Vec<(&'a str, &'a str)>> {
    let is_head = |line: &&str| line.split_whitespace().next() == Some(head);
    let names = text.lines().find(is_head)?.split_whitespace();
    Some(names.zip(row(text, head, name)?).collect())
}

/// Whether `word` is a state: each letter of `letters`, or `-` in its place.
#[must_use]
pub fn is_state(word: &str, letters: &str) -> bool {
    word.len() == letters.len()
        && word
            .chars()
            .zip(letters.chars())
            .all(|(w, l)| w == l || w == '-')
}

/// Seconds of `[DAYS days, ]H:MM:SS`, as `xl uptime` has it.
#[must_use]
pub fn seconds(clock: &str) -> Option<u64> {
    clock.split(':').try_fold(0, |sum, part| {
        let part: u64 = part.trim().parse().ok()?;
        Some(sum * 60 + part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        let text = "nr_cpus    : 2\nversion : #1 SMP 10:30\n";
        assert_eq!(value(text, "nr_cpus"), Some("2"));
        assert_eq!(value(text, "version"), Some("#1 SMP 10:30"));
        assert_eq!(value(text, "cpus"), None);
    }

    #[test]
    fn tables() {
        let text = "Cpupool\nName ID Weight\nDomain-0 0 256\ndemo 1 512\n\nName\n";
        assert_eq!(rows(text, "Name").len(), 2);
        assert_eq!(row(text, "Name", "demo"), Some(vec!["demo", "1", "512"]));
        let found = columns(text, "Name", "demo").expect("it is there");
        assert_eq!(found[2], ("Weight", "512"));
        assert_eq!(row(text, "Name", "other"), None);
    }

    #[test]
    fn states_and_clocks() {
        assert!(is_state("-b----", "rbpscd"));
        assert!(!is_state("b-----", "rbpscd"));
        assert!(!is_state("-b---", "rbpscd"));
        assert_eq!(seconds("1:02:03"), Some(3723));
        assert_eq!(seconds("soon"), None);
    }
}
