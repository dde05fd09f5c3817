//! The superuser that the sidecar reads and writes PocketBase as.

use std::path::PathBuf;

use clap::Args;

use super::Secret;

/// How to sign in at PocketBase.
#[derive(Args, Clone, Debug)]
pub struct Superuser {
    /// E-mail address of the superuser that the sidecar works as
    #[arg(long = "pocketbase-email", env = "GENERATIO_POCKETBASE_EMAIL", value_name = "EMAIL")]
    pub email: Option<String>,

    /// Its password
    #[arg(long = "pocketbase-password", env = "GENERATIO_POCKETBASE_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub password: Option<Secret>,

    /// A file whose first line is the password
    #[arg(long = "pocketbase-password-file", env = "GENERATIO_POCKETBASE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Instead of both: an impersonation token ("API key") of a superuser
    #[arg(long = "pocketbase-token", env = "GENERATIO_POCKETBASE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<Secret>,

    /// A file whose first line is that token
    #[arg(long = "pocketbase-token-file", env = "GENERATIO_POCKETBASE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// What a sign-in needs.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Signs in, and again whenever PocketBase forgets.
    Password {
        /// The superuser's address.
        email: String,
        /// Its password.
        password: Secret,
    },
    /// Stands for a sign-in that was made elsewhere; it cannot be renewed.
    Token(Secret),
}

impl Superuser {
    /// As if these two had been given.
    ///
    /// # Errors
    /// When the password cannot be one.
    pub fn with_password(email: &str, password: &str) -> Result<Self, String> {
        let password = Some(password.parse()?);
        Ok(Self { email: Some(email.to_owned()), password, password_file: None, token: None, token_file: None })
    }

    /// Whether nothing of one was given: then the sidecar is a proxy alone.
    pub fn is_absent(&self) -> bool {
        let Self { email, password, password_file, token, token_file } = self;
        email.is_none() && password.is_none() && password_file.is_none() && token.is_none() && token_file.is_none()
    }

    /// The credentials, or none if none were given.
    ///
    /// # Errors
    /// Names the variable that is missing, doubled or cannot be read.
    pub fn credentials(&self) -> Result<Option<Credentials>, String> {
        let token = one_of("GENERATIO_POCKETBASE_TOKEN", self.token.as_ref(), self.token_file.as_ref())?;
        let password = one_of("GENERATIO_POCKETBASE_PASSWORD", self.password.as_ref(), self.password_file.as_ref())?;
        match (token, self.email.clone(), password) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => Ok(Some(Credentials::Token(token))),
            (None, Some(email), Some(password)) => Ok(Some(Credentials::Password { email, password })),
            (None, Some(_), None) => Err("GENERATIO_POCKETBASE_EMAIL is set, but GENERATIO_POCKETBASE_PASSWORD is not".into()),
            (None, None, Some(_)) => Err("GENERATIO_POCKETBASE_PASSWORD is set, but GENERATIO_POCKETBASE_EMAIL is not".into()),
            (Some(_), _, _) => {
                Err("GENERATIO_POCKETBASE_TOKEN is set, and so is GENERATIO_POCKETBASE_EMAIL or GENERATIO_POCKETBASE_PASSWORD: choose one"
                    .into())
            }
        }
    }
}

fn one_of(name: &str, value: Option<&Secret>, file: Option<&PathBuf>) -> Result<Option<Secret>, String> {
    match (value, file) {
        (Some(_), Some(_)) => Err(format!("{name} and {name}_FILE are both set: choose one")),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, Some(path)) => Secret::from_file(path).map(Some).map_err(|error| format!("{name}_FILE: {error}")),
        (None, None) => Ok(None),
    }
}
