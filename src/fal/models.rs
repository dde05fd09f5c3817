//! The models that are offered, and what each takes: built in, and added to by a file of the operator's.

use std::path::Path;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use serde_json::{Map, Value};

use super::charge::{Fallback, Size, Unit};
use super::models_file::{self, BadCatalogue};
use super::parameter::{FieldFault, Parameter};
use super::urls::EndpointId;
use crate::money::MicroUsd;

/// Every model that is offered, in the order of the files.
#[derive(Clone, Debug)]
pub struct Catalogue(Vec<Model>);

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What front ends call it.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// What FAL calls it.
    pub endpoint: EndpointId,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// What a picture costs where FAL tells no price.
    pub cost_per_image: MicroUsd,
    /// What FAL bills.
    pub price_unit: Unit,
    /// What it takes beside the prompt.
    pub parameters: Vec<Parameter>,
}

/// Parameters that a model takes, apart from those it does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// What may be sent to FAL.
    pub send: Map<String, Value>,
    /// The names of what is not sent.
    pub ignored: Vec<String>,
}

/// What a job will give if it goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many pictures.
    pub images: u32,
    /// Of which size.
    pub size: Size,
}

impl Catalogue {
    /// The models that ship with the product.
    pub fn built_in() -> Self {
        let models = models_file::read(include_str!("models.toml"));
        Self(models.expect("a test reads the file that is built in"))
    }

    /// The built-in models, and those of a file, which add to them or replace those of the same name.
    ///
    /// # Errors
    /// Naming the line and the field that are wrong.
    pub fn with_file(path: &Path) -> Result<Self, BadCatalogue> {
        let text = std::fs::read_to_string(path).map_err(|source| BadCatalogue::Unreadable { path: path.to_owned(), source })?;
        Self::with_text(&text).map_err(|fault| BadCatalogue::Wrong { path: path.to_owned(), fault })
    }

    pub(super) fn with_text(text: &str) -> Result<Self, models_file::Fault> {
        let mut all = Self::built_in();
        for model in models_file::read(text)? {
            match all.0.iter_mut().find(|other| other.name == model.name) {
                Some(other) => *other = model,
                None => all.0.push(model),
            }
        }
        match models_file::ambiguous(&all.0) {
            Some(name) => Err(models_file::Fault::at_name(text, &name)),
            None => Ok(all),
        }
    }

    /// The model of this name or alias.
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.0.iter().find(|model| model.is_called(name))
    }

    /// All of them.
    pub fn models(&self) -> &[Model] {
        &self.0
    }
}

impl Serialize for Catalogue {
    /// The answer of `GET /api/custom/generate/models`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|model| (&model.name, model)))
    }
}

/// A map of values that have a name of their own.
struct ByName<'a>(&'a [Parameter]);

impl Serialize for ByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|parameter| (&parameter.name, parameter)))
    }
}

impl Serialize for Model {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut model = serializer.serialize_struct("Model", 5)?;
        model.serialize_field("name", &self.name)?;
        model.serialize_field("display_name", &self.display_name)?;
        model.serialize_field("description", &self.description)?;
        model.serialize_field("cost_per_image", &self.cost_per_image.dollars())?;
        model.serialize_field("parameters", &ByName(&self.parameters))?;
        model.end()
    }
}

impl Model {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Checks what a request wants of the model.
    ///
    /// # Errors
    /// With everything that is wrong, in the model's own order.
    pub fn validate(&self, parameters: &Map<String, Value>) -> Result<Accepted, Vec<FieldFault>> {
        let missing = |parameter: &&Parameter| parameter.required && !parameters.contains_key(&parameter.name);
        let mut faults: Vec<FieldFault> =
            self.parameters.iter().filter(missing).map(|parameter| FieldFault::blank(&parameter.name)).collect();
        match self.validate_some(parameters) {
            Ok(accepted) if faults.is_empty() => Ok(accepted),
            Ok(_) => Err(faults),
            Err(others) => {
                faults.extend(others);
                Err(faults)
            }
        }
    }

    /// Checks what a user prefers, which need not be everything that a request needs.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn validate_some(&self, parameters: &Map<String, Value>) -> Result<Accepted, Vec<FieldFault>> {
        let mut accepted = Accepted { send: Map::new(), ignored: Vec::new() };
        let mut faults = Vec::new();
        for parameter in &self.parameters {
            match parameters.get(&parameter.name).map(|value| parameter.check(value)) {
                Some(Ok(Some(value))) => drop(accepted.send.insert(parameter.name.clone(), value)),
                Some(Ok(None)) | None => {}
                Some(Err(fault)) => faults.push(fault),
            }
        }
        accepted.ignored = parameters.keys().filter(|name| !self.has(name)).cloned().collect();
        if faults.is_empty() { Ok(accepted) } else { Err(faults) }
    }

    /// Whether it takes a parameter of this name.
    pub fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.name == name)
    }

    /// What accepted parameters ask for.
    pub fn wanted(&self, send: &Map<String, Value>) -> Wanted {
        let images = self.parameters.iter().find(|parameter| parameter.name == "num_images");
        let images = send.get("num_images").and_then(Value::as_u64).or_else(|| images?.kind.default().as_u64()).unwrap_or(1);
        let size = self.parameters.iter().find_map(|parameter| parameter.size(send.get(&parameter.name)));
        Wanted { images: u32::try_from(images).unwrap_or(u32::MAX), size: size.unwrap_or(Size { width: 1024, height: 1024 }) }
    }

    /// What its pictures cost where FAL says nothing.
    pub fn fallback(&self) -> Fallback<'_> {
        Fallback { per_image: self.cost_per_image, unit: &self.price_unit }
    }
}

#[cfg(test)]
#[path = "models_tests.rs"]
mod tests;
