//! The text of a cue sheet: which files hold which tracks. The commands are those of CDRWIN's user guide, as described
//! in <https://www.gnu.org/software/ccd2cue/manual/html_node/CUE-sheet-format.html>.

use crate::ondisk::ParseError;

/// Frames (sectors) of a second and of a minute in an `INDEX` time.
const SECOND: u64 = 75;
const MINUTE: u64 = 60 * SECOND;

/// How a track's sectors are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mode {
    /// The word of the `TRACK` command, such as `MODE1/2352`.
    pub(super) name: String,
    /// Bytes of a sector in the file.
    pub(super) stride: u64,
}

/// `TRACK` and its indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) number: u32,
    pub(super) mode: Mode,
    /// `INDEX 00`, the frame of the file where the pause before the track begins.
    pub(super) pause: Option<u64>,
    /// `INDEX 01`, the frame of the file where the track begins.
    pub(super) start: u64,
}

/// `FILE` and the tracks in it, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataFile {
    pub(super) name: String,
    /// `BINARY`, `WAVE`, ...
    pub(super) kind: String,
    /// Where the command is in the sheet, in bytes.
    pub(super) at: u64,
    pub(super) tracks: Vec<Track>,
}

/// A line of the sheet.
struct Line<'a> {
    /// Bytes before it, and its number.
    at: u64,
    number: usize,
    words: Vec<&'a str>,
}

impl Line<'_> {
    fn cause(&self, expected: &str) -> ParseError {
        let found = format_args!("{:?} in line {}", self.words.join(" "), self.number);
        ParseError::corrupt(self.at, "cue sheet", expected, found)
    }

    fn number(&self, word: usize, expected: &str) -> Result<u32, ParseError> {
        self.words.get(word).and_then(|text| text.parse().ok()).ok_or_else(|| self.cause(expected))
    }
}

/// Whether a file begins as a cue sheet does: only commands, among them `FILE` and then `TRACK`.
pub(super) fn probe(head: &[u8]) -> bool {
    let text = text(head);
    if text.contains('\0') {
        return false;
    }
    let mut lines = lines(&text).filter(|line| !line.words.is_empty());
    let known = |line: &Line<'_>| line.words.first().is_some_and(|word| is_command(word));
    let is = |line: &Line<'_>, command: &str| line.words[0].eq_ignore_ascii_case(command);
    lines.by_ref().take_while(known).any(|line| is(&line, "FILE"))
        && lines.next().is_some_and(|line| is(&line, "TRACK"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned()
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut at = 0;
    text.split('\n').enumerate().map(move |(index, line)| {
        let start = at;
        at += line.len() as u64 + 1;
        Line { at: start, number: index + 1, words: words(line) }
    })
}

/// The words of a line; one in quotes may have blanks.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

fn is_command(word: &str) -> bool {
    const COMMANDS: [&str; 13] = [
        "FILE",
        "TRACK",
        "INDEX",
        "REM",
        "CATALOG",
        "CDTEXTFILE",
        "FLAGS",
        "ISRC",
        "PERFORMER",
        "POSTGAP",
        "PREGAP",
        "SONGWRITER",
        "TITLE",
    ];
    COMMANDS.iter().any(|command| word.eq_ignore_ascii_case(command))
}

/// Parses a sheet.
///
/// # Errors
/// [`ParseError`] naming the line that breaks the rules.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<DataFile>, ParseError> {
    let text = text(bytes);
    let mut files: Vec<DataFile> = Vec::new();
    // The track whose indices are being read.
    let mut open: Option<(Line<'_>, Track, bool)> = None;
    for line in lines(&text) {
        let Some(word) = line.words.first() else { continue };
        match word.to_ascii_uppercase().as_str() {
            "FILE" => {
                close(&mut open, &mut files)?;
                let [_, name, kind] = line.words[..] else { return Err(line.cause("FILE \"NAME\" TYPE")) };
                let (name, kind) = (name.to_owned(), kind.to_ascii_uppercase());
                files.push(DataFile { name, kind, at: line.at, tracks: Vec::new() });
            }
            "TRACK" => {
                close(&mut open, &mut files)?;
                if files.is_empty() {
                    return Err(line.cause("FILE before the first TRACK"));
                }
                let track = track(&line)?;
                open = Some((line, track, false));
            }
            "INDEX" => {
                let Some((_, track, started)) = &mut open else { return Err(line.cause("TRACK before its INDEX")) };
                let frame = time(&line)?;
                match line.number(1, "INDEX 00 to 99")? {
                    0 => track.pause = Some(frame),
                    1 => (track.start, *started) = (frame, true),
                    _ => {}
                }
            }
            _ if is_command(word) => {}
            _ => return Err(line.cause("a command of cue sheets")),
        }
    }
    close(&mut open, &mut files)?;
    Ok(files)
}

/// Adds the open track to its file.
fn close(open: &mut Option<(Line<'_>, Track, bool)>, files: &mut [DataFile]) -> Result<(), ParseError> {
    let Some((line, track, started)) = open.take() else { return Ok(()) };
    if !started {
        return Err(line.cause("INDEX 01 in each track"));
    }
    let Some(file) = files.last_mut() else { return Ok(()) };
    let begin = track.pause.unwrap_or(track.start);
    if begin > track.start || file.tracks.last().is_some_and(|last| last.start >= begin) {
        return Err(line.cause("indices that ascend"));
    }
    file.tracks.push(track);
    Ok(())
}

fn track(line: &Line<'_>) -> Result<Track, ParseError> {
    let expected = "TRACK 1 to 99 and a mode";
    let number = line.number(1, expected)?;
    let [_, _, name] = line.words[..] else { return Err(line.cause(expected)) };
    let name = name.to_ascii_uppercase();
    let stride = match name.as_str() {
        "AUDIO" => 2352,
        "CDG" => 2448,
        other => other.split_once('/').and_then(|(_, size)| size.parse().ok()).ok_or_else(|| line.cause(expected))?,
    };
    if !(1..=99).contains(&number) || !(2048..=2448).contains(&stride) {
        return Err(line.cause(expected));
    }
    Ok(Track { number, mode: Mode { name, stride }, pause: None, start: 0 })
}

/// `MM:SS:FF`, in frames.
fn time(line: &Line<'_>) -> Result<u64, ParseError> {
    let expected = "INDEX NN MM:SS:FF";
    let numbers: Vec<u64> =
        line.words.get(2).map(|word| word.split(':').filter_map(|n| n.parse().ok()).collect()).unwrap_or_default();
    match numbers[..] {
        [minutes, seconds, frames] if minutes < 1000 && seconds < 60 && frames < SECOND => {
            Ok(minutes * MINUTE + seconds * SECOND + frames)
        }
        _ => Err(line.cause(expected)),
    }
}

/// Where the data of track `index` of a file of `file_len` bytes begins and ends, in bytes.
pub(super) fn range(file: &DataFile, index: usize, file_len: u64) -> std::ops::Range<u64> {
    let begin = |track: &Track| track.pause.unwrap_or(track.start);
    let mut at = 0;
    let mut frame = 0;
    let mut stride = file.tracks.first().map_or(0, |track| track.mode.stride);
    // Frames before a track are stored as the track before it is. Times are below 1000 minutes, so nothing overflows.
    let mut advance = |to: u64, next: u64| {
        at += (to - frame) * stride;
        (frame, stride) = (to, next);
        at
    };
    let mut start = 0;
    for (number, track) in file.tracks.iter().enumerate() {
        let here = advance(begin(track), track.mode.stride);
        if number > index {
            return start..here;
        }
        start = advance(track.start, track.mode.stride);
    }
    start..file_len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_quotes_and_comments_are_read() {
        let sheet = "\u{feff}REM made by hand\r\nCATALOG 1234567890123\r\n\r\nfile \"my disk.bin\" binary\r\n  TRACK 01 mode1/2352\r\n\
                     TITLE \"x\"\r\n    INDEX 01 00:00:00\r\n  TRACK 02 AUDIO\r\n    INDEX 00 01:00:01\r\n    INDEX 01 01:02:01\r\n\
                     FILE b.wav WAVE\nTRACK 03 AUDIO\nINDEX 01 00:00:00";
        assert!(probe(sheet.as_bytes()));
        let files = parse(sheet.as_bytes()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].name.as_str(), files[0].kind.as_str()), ("my disk.bin", "BINARY"));
        assert_eq!(files[0].tracks.len(), 2);
        let second = &files[0].tracks[1];
        assert_eq!((second.pause, second.start), (Some(4501), 4651));
        assert_eq!(range(&files[0], 0, 99), 0..4501 * 2352);
        assert_eq!(range(&files[0], 1, 20_000_000), 4651 * 2352..20_000_000);
    }

    #[test]
    fn tracks_of_different_sectors_in_one_file_are_found() {
        let sheet = "FILE a BINARY\nTRACK 1 MODE1/2048\nINDEX 1 00:00:00\nTRACK 2 AUDIO\nPREGAP 00:02:00\nINDEX 1 00:00:10\n\
                     TRACK 3 MODE2/2336\nINDEX 0 00:00:20\nINDEX 1 00:00:22\nINDEX 2 00:00:23";
        let files = parse(sheet.as_bytes()).unwrap();
        assert_eq!(range(&files[0], 0, 0), 0..20480);
        assert_eq!(range(&files[0], 1, 0), 20480..20480 + 23520);
        assert_eq!(range(&files[0], 2, 99999), 44000 + 2 * 2336..99999);
    }

    #[test]
    fn each_broken_line_has_its_own_message() {
        let cases = [
            (
                "TRACK 1 AUDIO",
                "cue sheet at offset 0 (0x0): expected FILE before the first TRACK, found \"TRACK 1 AUDIO\" in line 1",
            ),
            ("FILE a", "expected FILE \"NAME\" TYPE"),
            (
                "FILE a BINARY\nINDEX 1 00:00:00",
                "at offset 14 (0xe): expected TRACK before its INDEX, found \"INDEX 1 00:00:00\" in line 2",
            ),
            ("FILE a BINARY\nTRACK 0 AUDIO", "expected TRACK 1 to 99 and a mode"),
            ("FILE a BINARY\nTRACK 1 MODE1", "expected TRACK 1 to 99 and a mode"),
            ("FILE a BINARY\nTRACK 1 MODE1/0", "expected TRACK 1 to 99 and a mode"),
            ("FILE a BINARY\nTRACK 1 AUDIO", "expected INDEX 01 in each track"),
            ("FILE a BINARY\nTRACK 1 AUDIO\nINDEX 1 00:60:00", "expected INDEX NN MM:SS:FF"),
            ("FILE a BINARY\nTRACK 1 AUDIO\nINDEX 1 00:00", "expected INDEX NN MM:SS:FF"),
            ("FILE a BINARY\nTRACK 1 AUDIO\nINDEX x 00:00:00", "expected INDEX 00 to 99"),
            ("FILE a BINARY\nTRACK 1 AUDIO\nINDEX 0 00:00:05\nINDEX 1 00:00:04", "expected indices that ascend"),
            (
                "FILE a BINARY\nTRACK 1 AUDIO\nINDEX 1 00:00:05\nTRACK 2 AUDIO\nINDEX 1 00:00:05",
                "expected indices that ascend",
            ),
            ("FILE a BINARY\nTRUCK 1 AUDIO", "expected a command of cue sheets"),
        ];
        for (sheet, cause) in cases {
            let text = parse(sheet.as_bytes()).unwrap_err().to_string();
            assert!(text.contains(cause), "{text}\nis not\n{cause}");
        }
    }

    #[test]
    fn other_texts_are_no_sheets() {
        for text in [
            "",
            "FILE a BINARY",
            "hello\nFILE a BINARY\nTRACK 1 AUDIO",
            "FILE a BINARY\nhello\nTRACK 1 AUDIO",
            "FILE a B\nTRACK 1\0",
        ] {
            assert!(!probe(text.as_bytes()), "{text:?}");
        }
        assert!(probe(b"FILE a BINARY\nTRACK 1 AUDIO"));
    }
}
