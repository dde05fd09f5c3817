//! What a model's inputs may be: values refused in pydantic's words, and published as JSON schema.

use serde_json::{Map, Value, json};

use super::picture::Size;

/// A named input.
#[derive(Debug)]
pub struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What values an input takes, and which one it has when left out.
#[derive(Debug)]
pub(super) enum Kind {
    RequiredText,
    Text(&'static str),
    ImageSize(Size),
    Integer { default: u64, least: u64, most: u64 },
    Decimal { default: f64, least: f64, most: f64 },
    Switch(bool),
    Choice(&'static [&'static str]),
    Seed,
}

/// FAL's presets of `image_size`.
const PRESETS: [(&str, Size); 6] = [
    ("square_hd", Size { width: 1024, height: 1024 }),
    ("square", Size { width: 512, height: 512 }),
    ("portrait_4_3", Size { width: 768, height: 1024 }),
    ("portrait_16_9", Size { width: 576, height: 1024 }),
    ("landscape_4_3", Size { width: 1024, height: 768 }),
    ("landscape_16_9", Size { width: 1024, height: 576 }),
];
/// The default of the FLUX models.
pub(super) const LANDSCAPE_4_3: Size = PRESETS[4].1;
/// The default of the HiDream models.
pub(super) const SQUARE_HD: Size = PRESETS[0].1;
/// FAL's bound on either side of a picture.
const LONGEST_SIDE: u64 = 14142;
/// Ours on the whole picture: a test double does not need gigabytes.
const MOST_PIXELS: u64 = 4096 * 4096;

/// The size that a preset or an object of two sides means.
pub(super) fn size_of(value: &Value) -> Option<Size> {
    if let Some(name) = value.as_str() {
        return PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, size)| *size);
    }
    let side = |name: &str| match value.get(name) {
        Some(side) => side.as_u64().and_then(|side| u32::try_from(side).ok()),
        None => Some(512),
    };
    Some(Size { width: side("width")?, height: side("height")? })
}

impl Parameter {
    /// What pydantic would say of this parameter's value, if anything.
    pub(super) fn fault(&self, input: &Map<String, Value>) -> Option<Value> {
        let Some(value) = input.get(self.name) else {
            let whole = Value::Object(input.clone());
            let missing = || item(&[self.name], "Field required", "missing", &whole);
            return matches!(self.kind, Kind::RequiredText).then(missing);
        };
        let wrong = |msg: &str, kind: &str| Some(item(&[self.name], msg, kind, value));
        match &self.kind {
            Kind::RequiredText | Kind::Text(_) if !value.is_string() => wrong("Input should be a valid string", "string_type"),
            Kind::Integer { least, most, .. } => match value.as_u64() {
                Some(number) if number < *least => Some(beyond(self.name, "greater_than_equal", "ge", least, value)),
                Some(number) if number > *most => Some(beyond(self.name, "less_than_equal", "le", most, value)),
                Some(_) => None,
                None if value.is_i64() => Some(beyond(self.name, "greater_than_equal", "ge", least, value)),
                None => wrong("Input should be a valid integer", "int_type"),
            },
            Kind::Decimal { least, most, .. } => match value.as_f64() {
                Some(number) if number < *least => Some(beyond(self.name, "greater_than_equal", "ge", least, value)),
                Some(number) if number > *most => Some(beyond(self.name, "less_than_equal", "le", most, value)),
                Some(_) => None,
                None => wrong("Input should be a valid number", "float_type"),
            },
            Kind::Switch(_) if !value.is_boolean() => wrong("Input should be a valid boolean", "bool_type"),
            Kind::Choice(options) if !value.as_str().is_some_and(|chosen| options.contains(&chosen)) => {
                Some(not_one_of(self.name, options, value))
            }
            Kind::Seed if !(value.is_null() || value.is_u64() || value.is_i64()) => wrong("Input should be a valid integer", "int_type"),
            Kind::ImageSize(_) => size_fault(self.name, value),
            Kind::RequiredText | Kind::Text(_) | Kind::Switch(_) | Kind::Choice(_) | Kind::Seed => None,
        }
    }
}

fn size_fault(name: &str, value: &Value) -> Option<Value> {
    if value.is_string() {
        let presets = PRESETS.map(|(preset, _)| preset);
        return size_of(value).is_none().then(|| not_one_of(name, &presets, value));
    }
    if !value.is_object() {
        return Some(item(&[name], "Input should be a valid string", "string_type", value));
    }
    for side in ["width", "height"] {
        let Some(length) = value.get(side) else {
            continue;
        };
        let (kind, key, limit) = match length.as_u64() {
            Some(number) if number > LONGEST_SIDE => ("less_than_equal", "le", LONGEST_SIDE),
            Some(0) => ("greater_than", "gt", 0),
            Some(_) => continue,
            None if length.is_i64() => ("greater_than", "gt", 0),
            None => {
                return Some(item(&[name, side], "Input should be a valid integer", "int_type", length));
            }
        };
        let mut fault = beyond(name, kind, key, &limit, length);
        fault["loc"] = json!(["body", name, side]);
        return Some(fault);
    }
    let too_large = size_of(value).is_none_or(|size| size.pixels() > MOST_PIXELS);
    too_large.then(|| item(&[name], "The simulator paints at most 4096 x 4096 pixels.", "image_too_large", value))
}

fn beyond(name: &str, kind: &str, key: &str, limit: &(impl serde::Serialize + std::fmt::Display), value: &Value) -> Value {
    let relation = kind.replace('_', " ").replace("than equal", "than or equal to");
    let mut item = item(&[name], &format!("Input should be {relation} {limit}"), kind, value);
    item["ctx"] = json!({ key: limit });
    item
}

fn not_one_of(name: &str, options: &[&str], value: &Value) -> Value {
    let expected = options.iter().map(|option| format!("'{option}'")).collect::<Vec<_>>().join(", ");
    let mut item = item(&[name], &format!("Input should be {expected}"), "enum", value);
    item["ctx"] = json!({ "expected": expected });
    item
}

/// One item of a validation error.
pub(super) fn item(at: &[&str], msg: &str, kind: &str, input: &Value) -> Value {
    let loc: Vec<&str> = std::iter::once("body").chain(at.iter().copied()).collect();
    json!({ "loc": loc, "msg": msg, "type": kind, "url": format!("https://docs.fal.ai/errors#{kind}"), "input": input })
}

impl Parameter {
    /// Its JSON schema.
    pub(super) fn schema(&self) -> Value {
        match &self.kind {
            Kind::RequiredText => json!({ "type": "string" }),
            Kind::Text(default) => json!({ "type": "string", "default": default }),
            Kind::ImageSize(default) => {
                let names = PRESETS.map(|(preset, _)| preset);
                let default = match PRESETS.iter().find(|(_, size)| size == default && *size != SQUARE_HD) {
                    Some((name, _)) => json!(name),
                    None => json!({ "width": default.width, "height": default.height }),
                };
                let side = json!({ "type": "integer", "exclusiveMinimum": 0, "maximum": LONGEST_SIDE, "default": 512 });
                let free = json!({ "type": "object", "properties": { "width": side, "height": side } });
                json!({ "anyOf": [free, { "type": "string", "enum": names }], "default": default })
            }
            Kind::Integer { default, least, most } => {
                json!({ "type": "integer", "minimum": least, "maximum": most, "default": default })
            }
            Kind::Decimal { default, least, most } => {
                json!({ "type": "number", "minimum": least, "maximum": most, "default": default })
            }
            Kind::Switch(default) => json!({ "type": "boolean", "default": default }),
            Kind::Choice(options) => {
                json!({ "type": "string", "enum": options, "default": options.first() })
            }
            Kind::Seed => json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }),
        }
    }
}
