//! The ways the simulator can be told to misbehave.
//!
//! One table names every knob. A knob is written `[[sim:group.name]]` or `[[sim:group.name:argument]]`; the group may be left
//! out where the name is unique. It is read from a prompt, from the secret half of a key, or from a rule set at `/_sim/faults`.

use std::str::FromStr;

use thiserror::Error;

/// Where a knob can turn, and with which default argument.
#[derive(Debug)]
pub struct Entry {
    knob: Knob,
    /// The part of the simulator it belongs to.
    pub group: &'static str,
    /// Its name in that group.
    pub name: &'static str,
    /// What the argument counts, or "" where there is none.
    pub argument: &'static str,
    default: &'static str,
    /// What a client sees.
    pub seen: &'static str,
}

macro_rules! knobs {
    ($($knob:ident $group:literal $name:literal ($argument:literal = $default:literal) $seen:literal;)*) => {
        /// One way to misbehave; [`KNOBS`] says what a client sees of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Knob { $(#[doc = $seen] $knob,)* }

        /// Every knob, in the order of the documentation.
        pub const KNOBS: &[Entry] = &[$(Entry {
            knob: Knob::$knob, group: $group, name: $name, argument: $argument, default: $default, seen: $seen,
        },)*];
    };
}

knobs! {
    BadKey "auth" "bad_key" ("" = "") "401 `invalid key credentials`";
    Locked "auth" "locked" ("reason" = "Admin lock. Please contact hello@fal.ai.") "403 `User is locked. Reason: …`";
    Scope "auth" "scope" ("" = "") "403 `Access denied`";

    TooMany "submit" "429" ("first n" = "") "429, nothing enqueued";
    ServerError "submit" "5xx" ("first n" = "") "503 `runner_scheduling_failure`, nothing enqueued";
    Html502 "submit" "html502" ("first n" = "") "502 with nginx's HTML page, nothing enqueued";
    DropBeforeAccept "submit" "drop_before_accept" ("first n" = "") "the connection is cut, nothing enqueued";
    DropAfterAccept "submit" "drop_after_accept" ("first n" = "") "the connection is cut, and the job runs and bills";
    SlowSubmit "submit" "slow" ("seconds" = "5") "the job is enqueued, the answer comes late";
    GarbageJson "submit" "garbage_json" ("first n" = "") "200 with half a JSON object, and the job runs and bills";

    StuckQueue "queue" "stuck_queue" ("" = "") "IN_QUEUE for ever";
    StuckProgress "queue" "stuck_progress" ("" = "") "IN_PROGRESS for ever";
    PosJump "queue" "pos_jump" ("" = "") "`queue_position` jumps up and down";
    RunnerRetry "queue" "runner_retry" ("n" = "1") "the run starts over n times, and the log says so";
    StartTimeout "queue" "start_timeout" ("" = "") "COMPLETED with `request_timeout`; the result is 504";

    Status404 "status" "404_until" ("first n" = "3") "404 `NOT_FOUND` for the first n polls";
    Status500 "status" "500" ("first n" = "1") "500 for the first n polls";
    UnknownStatus "status" "unknown_status" ("" = "") "a status that is none of the three";
    OmitLogs "status" "omit_logs" ("" = "") "no `logs` member at all";
    DropSse "status" "drop_sse" ("" = "") "the status stream is cut after its first event";

    ModelError "result" "422" ("type" = "content_policy_violation") "the model's error of that type, at the result";
    Fail "result" "fail" ("type" = "runner_server_error") "FAL's own error of that type, at the result";
    StillInProgress "result" "400_in_progress" ("first n" = "") "400 `Request is still in progress` though COMPLETED";
    Expired "result" "expired" ("" = "") "404 at the result though COMPLETED";
    NoImages "result" "no_images" ("" = "") "200 with an empty `images`";
    Nsfw "result" "nsfw" ("" = "") "200 with `has_nsfw_concepts` true and a blank picture, billed";
    Huge "result" "huge" ("MiB" = "20") "200 with a body of that many MiB";
    MissingDims "result" "missing_dims" ("" = "") "pictures without `width` and `height`";
    NoBillableHeader "result" "no_billable_header" ("" = "") "200 without `x-fal-billable-units`, billed";
    WrongBillable "result" "wrong_billable" ("units" = "999999") "200 with those units in the header, billed as usual";

    CancelIgnored "cancel" "202_but_completes" ("" = "") "202, and the job completes and bills";
    Cancel400 "cancel" "400" ("" = "") "400 `ALREADY_COMPLETED` whatever the job does";
    Cancel404 "cancel" "404" ("" = "") "404 `NOT_FOUND` whatever the job does";

    Media404 "media" "404" ("first n" = "") "404 for the picture";
    MediaSlow "media" "slow" ("bytes a second" = "1024") "the picture trickles";
    Truncate "media" "truncate" ("" = "") "half the promised bytes, then the connection is cut";
    WrongType "media" "wrong_type" ("" = "") "an HTML page where the picture should be";
    RedirectPrivate "media" "redirect_private" ("" = "") "302 to a link-local address";
    Oversize "media" "oversize" ("MiB" = "256") "a picture followed by that many MiB of nothing";

    WebhookDup "webhook" "dup" ("" = "") "every delivery comes twice";
    WebhookLate "webhook" "late" ("seconds" = "60") "the first delivery comes late";
    WebhookBadSig "webhook" "bad_sig" ("" = "") "a signature that does not verify";
    WebhookOldTs "webhook" "old_ts" ("" = "") "a validly signed time stamp of an hour ago";
    WebhookPayloadNull "webhook" "payload_null" ("" = "") "`payload` null with `payload_error`; still a success";
    WebhookNever "webhook" "never" ("" = "") "no delivery";

    PricingDown "platform" "pricing_down" ("" = "") "503 from the pricing endpoints";
    BalanceHtml "platform" "balance_html" ("" = "") "an HTML page instead of the balance";
}

/// A knob, turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    knob: Knob,
    argument: String,
}

/// A marker that no entry of [`KNOBS`] explains.
#[derive(Debug, Error)]
#[error("the simulator has no knob \"{0}\"; GET /_sim/knobs lists them")]
pub struct UnknownKnob(String);

impl FromStr for Fault {
    type Err = UnknownKnob;

    fn from_str(text: &str) -> Result<Self, UnknownKnob> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let entry = entry(name).ok_or_else(|| UnknownKnob(text.to_owned()))?;
        let argument = argument.unwrap_or(entry.default).trim();
        let countable = !argument.is_empty() && !matches!(entry.argument, "" | "reason" | "type");
        if countable && argument.parse::<u64>().is_err() {
            return Err(UnknownKnob(text.to_owned()));
        }
        Ok(Fault { knob: entry.knob, argument: argument.to_owned() })
    }
}

/// By full name, or by a bare name that only one group has.
fn entry(name: &str) -> Option<&'static Entry> {
    if let Some((group, name)) = name.split_once('.') {
        return KNOBS.iter().find(|entry| entry.group == group && entry.name == name);
    }
    let mut found = KNOBS.iter().filter(|entry| entry.name == name);
    match (found.next(), found.next()) {
        (Some(entry), None) => Some(entry),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// The faults that act on one request or one job. The first of a kind wins.
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Every `[[sim:…]]` in a text.
    pub fn in_text(text: &str) -> Result<Self, UnknownKnob> {
        let mut found = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("[[sim:") {
            let marker = &rest[start + "[[sim:".len()..];
            let Some(end) = marker.find("]]") else { break };
            found.push(marker[..end].parse()?);
            rest = &marker[end + "]]".len()..];
        }
        Ok(Faults(found))
    }

    /// Every knob of a list of names, as a rule at `/_sim/faults` gives them.
    pub fn in_list(names: &[String]) -> Result<Self, UnknownKnob> {
        names.iter().map(|name| name.parse()).collect::<Result<_, _>>().map(Faults)
    }

    /// Adds faults that give way to those already here.
    pub fn extend(&mut self, others: &Faults) {
        self.0.extend(others.0.iter().cloned());
    }

    /// Whether the knob is turned at all.
    pub fn has(&self, knob: Knob) -> bool {
        self.word(knob).is_some()
    }

    /// The knob's argument as text.
    pub fn word(&self, knob: Knob) -> Option<&str> {
        self.0.iter().find(|fault| fault.knob == knob).map(|fault| fault.argument.as_str())
    }

    /// The knob's argument as a number.
    pub fn number(&self, knob: Knob) -> Option<u64> {
        self.word(knob)?.parse().ok()
    }

    /// Whether a knob that may be limited to the first n times still acts on the `nth` time, counted from one.
    pub fn acts(&self, knob: Knob, nth: u64) -> bool {
        self.has(knob) && self.number(knob).is_none_or(|limit| nth <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_may_carry_several_markers_with_and_without_arguments() {
        let faults = Faults::in_text("a cat [[sim:429:2]] on [[sim:media.slow]] a mat [[sim:422:image_too_small]]").unwrap();
        assert!(faults.acts(Knob::TooMany, 2));
        assert!(!faults.acts(Knob::TooMany, 3));
        assert_eq!(faults.number(Knob::MediaSlow), Some(1024));
        assert_eq!(faults.word(Knob::ModelError), Some("image_too_small"));
        assert!(!faults.has(Knob::Nsfw));
    }

    #[test]
    fn a_marker_that_means_nothing_or_two_things_is_refused_by_name() {
        for text in ["[[sim:404]]", "[[sim:nonsense]]", "[[sim:429:often]]", "[[sim:queue.429]]"] {
            let refusal = Faults::in_text(text).unwrap_err().to_string();
            assert!(refusal.contains(&text[6..text.len() - 2]), "{refusal}");
        }
    }

    #[test]
    fn every_knob_can_be_reached_by_its_full_name() {
        for entry in KNOBS {
            let fault: Fault = format!("{}.{}", entry.group, entry.name).parse().unwrap();
            assert_eq!(fault.knob, entry.knob);
        }
    }
}
