//! Reading `models.toml`, so that a mistake in it is found by its line before anything is served.

use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::charge::{Unit, UnitPrice};
use super::models::Model;
use super::parameter::{Kind, PRESETS, Parameter, chosen};
use crate::money::MicroUsd;

/// A file of models that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCatalogue {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}, {fault}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
}

/// What is wrong in a file of models.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} (`{text}`): {why}")]
pub struct Fault {
    /// Counted from one.
    pub line: usize,
    /// The line, which begins with the field.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl Fault {
    fn new(file: &str, place: usize, why: impl Into<String>) -> Self {
        let before = file.get(..place).unwrap_or(file);
        let line = before.matches('\n').count();
        let text = file.lines().nth(line).unwrap_or_default().trim().chars().take(100).collect();
        Self { line: line + 1, text, why: why.into() }
    }

    /// A name that means two models, at the line that says it last.
    pub(super) fn at_name(file: &str, name: &str) -> Self {
        let place = file.rfind(&format!("\"{name}\"")).unwrap_or(0);
        Self::new(file, place, format!("\"{name}\" means two models"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    model: Vec<RawModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    name: Spanned<String>,
    #[serde(default)]
    aliases: Vec<Spanned<String>>,
    fal_id: Spanned<String>,
    display_name: String,
    #[serde(default)]
    description: String,
    cost_per_image: Spanned<f64>,
    price_unit: Spanned<String>,
    #[serde(default)]
    parameter: Vec<RawParameter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParameter {
    name: Spanned<String>,
    #[serde(rename = "type")]
    kind: Spanned<String>,
    default: Option<Spanned<Value>>,
    min: Option<Spanned<Value>>,
    max: Option<Spanned<Value>>,
    options: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    required: bool,
}

/// Where in the file, and what is wrong there.
type Wrong = (Range<usize>, String);

/// Reads every model of a file.
pub(super) fn read(text: &str) -> Result<Vec<Model>, Fault> {
    let file: File = toml::from_str(text).map_err(|error| {
        let place = error.span().map_or(0, |span| span.start);
        Fault::new(text, place, error.message().trim())
    })?;
    let mut models: Vec<Model> = Vec::new();
    for raw in file.model {
        let name = raw.name.get_ref().clone();
        let model = model(raw).map_err(|(span, why)| Fault::new(text, span.start, why))?;
        if models.iter().any(|other| other.name == name) {
            return Err(Fault::at_name(text, &name));
        }
        models.push(model);
    }
    ambiguous(&models).map_or(Ok(models), |name| Err(Fault::at_name(text, &name)))
}

/// A name or alias that means two models.
pub(super) fn ambiguous(models: &[Model]) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    models.iter().flat_map(|model| std::iter::once(&model.name).chain(&model.aliases)).find(|name| !seen.insert(*name)).cloned()
}

fn wrong<T>(span: Range<usize>, why: impl Into<String>) -> Result<T, Wrong> {
    Err((span, why.into()))
}

fn model(raw: RawModel) -> Result<Model, Wrong> {
    let named = |name: &str| !name.is_empty() && name.len() <= 100 && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !named(raw.name.get_ref()) {
        return wrong(raw.name.span(), "expected a name of 1 to 100 visible ASCII characters");
    }
    if let Some(alias) = raw.aliases.iter().find(|alias| !named(alias.get_ref())) {
        return wrong(alias.span(), "expected names of 1 to 100 visible ASCII characters");
    }
    let endpoint = raw.fal_id.get_ref().parse().map_err(|why| (raw.fal_id.span(), why))?;
    let price_unit = match Unit::read(raw.price_unit.get_ref()) {
        Unit::Other(_) => return wrong(raw.price_unit.span(), "expected \"megapixels\" or \"images\""),
        unit @ (Unit::Image | Unit::Megapixel) => unit,
    };
    let cost_per_image = dollars(*raw.cost_per_image.get_ref());
    let cost_per_image =
        cost_per_image.ok_or_else(|| (raw.cost_per_image.span(), "expected dollars with at most six decimals".to_owned()))?;
    let mut parameters: Vec<Parameter> = Vec::new();
    for raw in raw.parameter {
        let name = raw.name.get_ref().as_str();
        if ["prompt", "sync_mode"].contains(&name) || parameters.iter().any(|other| other.name == name) {
            return wrong(raw.name.span(), "the prompt and sync_mode are no parameters, and every other one is named once");
        }
        parameters.push(parameter(raw)?);
    }
    Ok(Model {
        name: raw.name.into_inner(),
        aliases: raw.aliases.into_iter().map(Spanned::into_inner).collect(),
        endpoint,
        display_name: raw.display_name,
        description: raw.description,
        cost_per_image,
        price_unit,
        parameters,
    })
}

/// The double prints as the digits it was read from.
fn dollars(number: f64) -> Option<MicroUsd> {
    let nanos = UnitPrice::read(&number.to_string())?.nano_dollars();
    let micros = i64::try_from(nanos / 1000).ok()?;
    (nanos % 1000 == 0).then_some(MicroUsd::new(micros))
}

fn parameter(raw: RawParameter) -> Result<Parameter, Wrong> {
    let kind = match raw.kind.get_ref().as_str() {
        "integer" => Kind::Integer { default: integer(&raw.default)?, min: integer(&raw.min)?, max: integer(&raw.max)? },
        "float" => Kind::Float { default: float(&raw.default)?, min: float(&raw.min)?, max: float(&raw.max)? },
        "boolean" => Kind::Boolean { default: value(&raw.default, "true or false", Value::as_bool)? },
        "string" => Kind::Text { default: string(&raw.default)?, longest: value(&raw.max, "a length", length)? },
        "choice" => {
            let Some(options) = raw.options.as_ref().filter(|options| !options.get_ref().is_empty()) else {
                return wrong(raw.kind.span(), "a choice needs options");
            };
            Kind::Choice { default: string(&raw.default)?, options: options.get_ref().clone() }
        }
        "image_size" => image_size(&raw)?,
        _ => return wrong(raw.kind.span(), "expected integer, float, boolean, string, choice or image_size"),
    };
    let bounded = matches!(kind, Kind::Integer { .. } | Kind::Float { .. });
    for (bound, fits) in [(&raw.min, bounded), (&raw.max, bounded || matches!(kind, Kind::Text { .. }))] {
        if let Some(bound) = bound.as_ref().filter(|_| !fits) {
            return wrong(bound.span(), format!("a parameter of type {} has no such bound", raw.kind.get_ref()));
        }
    }
    if let Some(options) = raw.options.as_ref().filter(|_| !matches!(kind, Kind::Choice { .. } | Kind::ImageSize { .. })) {
        return wrong(options.span(), format!("a parameter of type {} has no options", raw.kind.get_ref()));
    }
    let parameter = Parameter { name: raw.name.get_ref().clone(), description: raw.description, required: raw.required, kind };
    if let Some(default) = raw.default
        && let Err(fault) = parameter.check(default.get_ref())
    {
        return wrong(default.span(), format!("the default is not allowed: {}", fault.message));
    }
    Ok(parameter)
}

fn image_size(raw: &RawParameter) -> Result<Kind, Wrong> {
    let presets = match &raw.options {
        None => PRESETS.iter().map(|(name, _)| *name).collect(),
        Some(options) => {
            let known = |option: &String| PRESETS.iter().map(|(name, _)| *name).find(|name| name == option);
            let presets: Option<Vec<_>> = options.get_ref().iter().map(known).collect();
            presets.ok_or_else(|| (options.span(), "expected presets of FAL's, like \"square_hd\"".to_owned()))?
        }
    };
    let default = match &raw.default {
        None => None,
        Some(default) => {
            let chosen = chosen(raw.name.get_ref(), default.get_ref(), &presets);
            Some(chosen.map_err(|fault| (default.span(), format!("the default is not allowed: {}", fault.message)))?)
        }
    };
    Ok(Kind::ImageSize { default, presets })
}

fn value<T>(given: &Option<Spanned<Value>>, expected: &str, read: fn(&Value) -> Option<T>) -> Result<Option<T>, Wrong> {
    let Some(given) = given else { return Ok(None) };
    read(given.get_ref()).map(Some).ok_or_else(|| (given.span(), format!("expected {expected}")))
}

fn integer(given: &Option<Spanned<Value>>) -> Result<Option<i64>, Wrong> {
    value(given, "an integer", Value::as_i64)
}

fn float(given: &Option<Spanned<Value>>) -> Result<Option<f64>, Wrong> {
    value(given, "a number", Value::as_f64)
}

fn string(given: &Option<Spanned<Value>>) -> Result<Option<String>, Wrong> {
    value(given, "a string", |value| value.as_str().map(str::to_owned))
}

fn length(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|length| usize::try_from(length).ok())
}
