//! One input of a model: what values it takes, and how a wrong one is named.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use super::charge::Size;

/// A named input.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// What FAL calls it.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether FAL refuses to go without.
    pub required: bool,
    pub(super) kind: Kind,
}

/// What values an input takes, and which one FAL uses when it is left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Integer { default: Option<i64>, min: Option<i64>, max: Option<i64> },
    Float { default: Option<f64>, min: Option<f64>, max: Option<f64> },
    Boolean { default: Option<bool> },
    Text { default: Option<String>, longest: Option<usize> },
    Choice { default: Option<String>, options: Vec<String> },
    ImageSize { default: Option<Chosen>, presets: Vec<&'static str> },
}

/// A size as it is written: by a preset's name, or in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Chosen {
    Preset(&'static str),
    Pixels(Size),
}

/// FAL's presets of `image_size` (facts: fal.md 4.1).
pub(super) const PRESETS: [(&str, Size); 6] = [
    ("square_hd", Size { width: 1024, height: 1024 }),
    ("square", Size { width: 512, height: 512 }),
    ("portrait_4_3", Size { width: 768, height: 1024 }),
    ("portrait_16_9", Size { width: 576, height: 1024 }),
    ("landscape_4_3", Size { width: 1024, height: 768 }),
    ("landscape_16_9", Size { width: 1024, height: 576 }),
];
/// FAL's bound on either side of a picture.
const LONGEST_SIDE: u32 = 14142;

/// What is wrong with a value, in the shape of PocketBase's field errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// The parameter, `image_size.width` where a member of it is at fault.
    pub field: String,
    /// PocketBase's code.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
}

impl FieldFault {
    pub(super) fn blank(field: &str) -> Self {
        Self { field: field.to_owned(), code: "validation_required", message: "Cannot be blank.".into() }
    }

    fn kind(field: &str, expected: &str) -> Self {
        Self { field: field.to_owned(), code: "validation_invalid_value", message: format!("Must be {expected}.") }
    }

    fn low(field: &str, min: impl std::fmt::Display) -> Self {
        Self { field: field.to_owned(), code: "validation_min_number_constraint", message: format!("Must be at least {min}.") }
    }

    fn high(field: &str, max: impl std::fmt::Display) -> Self {
        Self { field: field.to_owned(), code: "validation_max_number_constraint", message: format!("Must be at most {max}.") }
    }

    fn option(field: &str, options: &[impl AsRef<str>]) -> Self {
        let options: Vec<&str> = options.iter().map(AsRef::as_ref).collect();
        Self { field: field.to_owned(), code: "validation_in_invalid", message: format!("Must be one of {}.", options.join(", ")) }
    }
}

impl Parameter {
    /// The value as FAL wants it; `None` where a null means that it is left out.
    pub(super) fn check(&self, value: &Value) -> Result<Option<Value>, FieldFault> {
        let name = self.name.as_str();
        if value.is_null() && !self.required && self.kind.default().is_null() {
            return Ok(None);
        }
        let checked = match &self.kind {
            Kind::Integer { min, max, .. } => integer(name, value, *min, *max)?,
            Kind::Float { min, max, .. } => float(name, value, *min, *max)?,
            Kind::Boolean { .. } => value.as_bool().map(Value::from).ok_or_else(|| FieldFault::kind(name, "true or false"))?,
            Kind::Text { longest, .. } => text(name, value, *longest)?,
            Kind::Choice { options, .. } => {
                let chosen = options.iter().find(|option| value == option.as_str());
                chosen.map(|option| json!(option)).ok_or_else(|| FieldFault::option(name, options))?
            }
            Kind::ImageSize { presets, .. } => json!(chosen(name, value, presets)?),
        };
        Ok(Some(checked))
    }

    /// The size that a checked value, or none, means.
    pub(super) fn size(&self, value: Option<&Value>) -> Option<Size> {
        let Kind::ImageSize { default, presets } = &self.kind else { return None };
        let chosen = value.and_then(|value| chosen(&self.name, value, presets).ok()).or(*default)?;
        Some(match chosen {
            Chosen::Pixels(size) => size,
            Chosen::Preset(name) => PRESETS.iter().find(|(preset, _)| *preset == name)?.1,
        })
    }
}

/// An integer of any size: a seed may need all of 64 bits. Clients without integers write `4.0`.
fn integer(name: &str, value: &Value, min: Option<i64>, max: Option<i64>) -> Result<Value, FieldFault> {
    let number = value.as_number().ok_or_else(|| FieldFault::kind(name, "an integer"))?;
    let whole = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 is exact in both")]
    let wide = number.as_i128().or_else(|| whole().map(|float| float as i128));
    let Some(wide) = wide else {
        let message = "Decimal numbers are not allowed.".into();
        return Err(FieldFault { field: name.to_owned(), code: "validation_only_int_constraint", message });
    };
    if let Some(min) = min.filter(|min| wide < i128::from(*min)) {
        return Err(FieldFault::low(name, min));
    }
    if let Some(max) = max.filter(|max| wide > i128::from(*max)) {
        return Err(FieldFault::high(name, max));
    }
    Ok(serde_json::Number::from_i128(wide).map_or_else(|| value.clone(), Value::Number))
}

fn float(name: &str, value: &Value, min: Option<f64>, max: Option<f64>) -> Result<Value, FieldFault> {
    let number = value.as_f64().ok_or_else(|| FieldFault::kind(name, "a number"))?;
    if let Some(min) = min.filter(|min| number < *min) {
        return Err(FieldFault::low(name, min));
    }
    if let Some(max) = max.filter(|max| number > *max) {
        return Err(FieldFault::high(name, max));
    }
    Ok(value.clone())
}

fn text(name: &str, value: &Value, longest: Option<usize>) -> Result<Value, FieldFault> {
    let text = value.as_str().ok_or_else(|| FieldFault::kind(name, "a string"))?;
    if let Some(longest) = longest.filter(|longest| text.chars().count() > *longest) {
        let message = format!("Must be no more than {longest} characters.");
        return Err(FieldFault { field: name.to_owned(), code: "validation_max_text_constraint", message });
    }
    Ok(value.clone())
}

/// A preset's name, or an object of both sides. Whatever else the object holds is left out.
pub(super) fn chosen(name: &str, value: &Value, presets: &[&'static str]) -> Result<Chosen, FieldFault> {
    if value.is_string() {
        let preset = presets.iter().find(|preset| value == **preset);
        return preset.map(|preset| Chosen::Preset(preset)).ok_or_else(|| FieldFault::option(name, presets));
    }
    let object = value.as_object().ok_or_else(|| FieldFault::kind(name, "the name of a size, or an object with width and height"))?;
    let side = |side: &str| {
        let field = format!("{name}.{side}");
        let value = object.get(side).ok_or_else(|| FieldFault::blank(&field))?;
        let pixels = integer(&field, value, Some(1), Some(LONGEST_SIDE.into()))?;
        let pixels = pixels.as_u64().and_then(|pixels| u32::try_from(pixels).ok());
        Ok(pixels.expect("it lies between 1 and 14142"))
    };
    Ok(Chosen::Pixels(Size { width: side("width")?, height: side("height")? }))
}

impl Kind {
    pub(super) fn default(&self) -> Value {
        match self {
            Self::Integer { default, .. } => json!(default),
            Self::Float { default, .. } => json!(default),
            Self::Boolean { default } => json!(default),
            Self::Text { default, .. } | Self::Choice { default, .. } => json!(default),
            Self::ImageSize { default, .. } => json!(default),
        }
    }
}

impl Serialize for Parameter {
    /// As front ends know it: bounds and options only where there are any, a size as an `object` whose options are the presets.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (word, min, max, options) = match &self.kind {
            Kind::Integer { min, max, .. } => ("integer", min.map(Value::from), max.map(Value::from), Vec::new()),
            Kind::Float { min, max, .. } => ("float", min.map(Value::from), max.map(Value::from), Vec::new()),
            Kind::Boolean { .. } => ("boolean", None, None, Vec::new()),
            Kind::Text { .. } => ("string", None, None, Vec::new()),
            Kind::Choice { options, .. } => ("string", None, None, options.iter().map(String::as_str).collect()),
            Kind::ImageSize { presets, .. } => ("object", None, None, presets.clone()),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", word)?;
        map.serialize_entry("default", &self.kind.default())?;
        for (name, bound) in [("min", min), ("max", max)] {
            if let Some(bound) = bound {
                map.serialize_entry(name, &bound)?;
            }
        }
        if !options.is_empty() {
            map.serialize_entry("options", &options)?;
        }
        map.serialize_entry("description", &self.description)?;
        map.serialize_entry("required", &self.required)?;
        map.end()
    }
}
