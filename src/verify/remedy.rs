//! Remedies for findings at Microsoft: portal paths, `az` commands, consent addresses, and PowerShell for Exchange.
//!
//! [`Remedies`] fills in the real names of one application. Nothing here decides if a remedy applies. What no command can express
//! safely (an unknown permission, too many addresses) is described for the portal only. Values of files and of Microsoft are
//! quoted: `az` commands for a POSIX shell, those of Exchange for PowerShell.

use crate::{
    entra::{
        Endpoints,
        permissions::{self, GRAPH_APP_ID, PermissionKind},
    },
    text::shell::{quote_posix, quote_powershell},
};

/// The longest list of redirect URIs that is written into a command.
const LISTED: usize = 20;

/// Remedies for one application in one tenant.
pub(super) struct Remedies<'a> {
    /// `mailwright verify ENV PROFILE`.
    pub(super) verify_command: &'a str,
    pub(super) endpoints: &'a Endpoints,
    pub(super) tenant: &'a str,
    pub(super) client: &'a str,
}

impl Remedies<'_> {
    /// Returns a page of the registration in the administrators' portal.
    fn portal(&self, words: &str, blade: &str) -> String {
        let Self { endpoints, client, .. } = self;
        format!(
            "Portal: App registrations > the application > {words}: {}/#view/Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/{blade}/appId/{client}",
            endpoints.portal
        )
    }

    /// Returns the address where an administrator consents to everything that the registration requests.
    pub(super) fn consent(&self, redirect: Option<&str>) -> String {
        let Self { endpoints, tenant, client, .. } = self;
        let sign_in = endpoints.sign_in.as_str().trim_end_matches('/');
        let address = match redirect {
            Some(redirect) => {
                let query = encode_query(&[
                    ("client_id", client),
                    ("scope", &endpoints.graph_scope()),
                    ("redirect_uri", redirect),
                    ("state", "mailwright"),
                ]);
                format!("{sign_in}/{tenant}/v2.0/adminconsent?{query}")
            }
            None => format!("{sign_in}/{tenant}/adminconsent?{}", encode_query(&[("client_id", client)])),
        };
        format!("A Privileged Role Administrator consents at: {address}")
    }

    /// Returns every way for an administrator to consent.
    pub(super) fn consent_steps(&self, redirect: Option<&str>) -> Vec<String> {
        vec![
            self.consent(redirect),
            self.portal("API permissions > Grant admin consent", "CallAnAPI"),
            format!("az ad app permission admin-consent --id {}", self.id()),
            "It takes some minutes until a new token shows it; verify again then.".to_owned(),
        ]
    }

    /// Returns the steps that request a permission, before consent.
    pub(super) fn request_permission(&self, kind: PermissionKind, name: &str) -> Vec<String> {
        let mut steps = vec![self.portal(
            &format!(
                "API permissions > Add a permission > Microsoft Graph > {} permissions > {name}",
                match kind {
                    PermissionKind::Application => "Application",
                    PermissionKind::Delegated => "Delegated",
                }
            ),
            "CallAnAPI",
        )];
        if let Some(id) = permissions::id(kind, name) {
            steps.push(format!(
                "az ad app permission add --id {} --api {GRAPH_APP_ID} --api-permissions {id}={}",
                self.id(),
                kind.id()
            ));
        }
        steps
    }

    /// Returns the steps that remove a permission.
    pub(super) fn remove_permission(&self, kind: PermissionKind, name: &str) -> Vec<String> {
        let mut steps =
            vec![self.portal(&format!("API permissions > {name} > Revoke admin consent, then Remove"), "CallAnAPI")];
        if let Some(id) = permissions::id(kind, name) {
            if kind == PermissionKind::Application {
                steps.push(self.revoke_role(id));
            }
            steps.push(format!(
                "az ad app permission delete --id {} --api {GRAPH_APP_ID} --api-permissions {id}",
                self.id()
            ));
        }
        steps
    }

    /// Returns the command that revokes an application permission. `az ad app permission delete` removes the request alone,
    /// and leaves the grant.
    fn revoke_role(&self, id: &str) -> String {
        let grants = self.graph_url(&format!("servicePrincipals(appId='{}')/appRoleAssignments", self.client));
        let (grants, query) = (quote_posix(&grants), quote_posix(&format!("value[?appRoleId=='{id}'].id")));
        format!(
            "az rest --method DELETE --url {grants}/\"$(az rest --method GET --url {grants} --query {query} --output tsv)\""
        )
    }

    /// Returns the client id for a POSIX shell.
    pub(super) fn id(&self) -> String {
        quote_posix(self.client)
    }

    /// Returns an address of Graph.
    fn graph_url(&self, path: &str) -> String {
        format!("{}/v1.0/{path}", self.endpoints.graph.as_str().trim_end_matches('/'))
    }

    /// Returns the command that changes the application. The body reaches Graph as it is.
    fn patch_application(&self, body: &serde_json::Value) -> String {
        format!(
            "az rest --method PATCH --url {} --headers Content-Type=application/json --body {}",
            quote_posix(&self.graph_url(&format!("applications(appId='{}')", self.client))),
            quote_posix(&body.to_string())
        )
    }

    /// Returns the steps that create a client secret and seal its value.
    pub(super) fn new_secret(&self, seal: &str) -> Vec<String> {
        vec![
            self.portal(
                "Certificates & secrets > New client secret (copy the Value, not the Secret ID)",
                "Credentials",
            ),
            seal.to_owned(),
            // The value is shown nowhere.
            format!(
                "Or without the portal: az ad app credential reset --id {} --append --years 1 --query password --output tsv | {seal}",
                self.id()
            ),
        ]
    }

    /// Returns the steps that upload a certificate and seal it.
    pub(super) fn new_certificate(&self, seal: &str) -> Vec<String> {
        vec![
            self.portal("Certificates & secrets > Certificates > Upload certificate", "Credentials"),
            format!("az ad app credential reset --id {} --append --cert @certificate.pem", self.id()),
            seal.to_owned(),
        ]
    }

    /// Returns the steps that show the federated credentials.
    pub(super) fn federation(&self) -> Vec<String> {
        vec![
            self.portal("Certificates & secrets > Federated credentials", "Credentials"),
            format!("az ad app federated-credential list --id {}", self.id()),
            "Issuer and subject must be those of the token to the letter, its audience api://AzureADTokenExchange."
                .to_owned(),
        ]
    }

    /// Returns the steps that set redirect URIs. `all` is the complete new list: `az` replaces the registered one.
    pub(super) fn redirects(&self, platform: &str, all: &[String]) -> Vec<String> {
        let portal = self.portal("Authentication > Redirect URI configuration", "Authentication");
        if all.len() > LISTED {
            let whole =
                format!("`az` replaces the whole list, which has {} addresses: the portal changes one.", all.len());
            return vec![portal, whole];
        }
        vec![portal, self.patch_application(&serde_json::json!({ platform: { "redirectUris": all } }))]
    }

    /// Returns the steps that enable the application.
    pub(super) fn enable(&self) -> Vec<String> {
        vec![
            "Portal: Enterprise applications > the application > Properties > Enabled for users to sign-in: Yes"
                .to_owned(),
            format!("az ad sp update --id {} --set accountEnabled=true", self.id()),
        ]
    }

    /// Returns the step by which the owner of a deactivated registration activates it.
    pub(super) fn activate(&self) -> Vec<String> {
        vec![
            self.portal("Overview > Activate", "Overview"),
            self.patch_application(&serde_json::json!({ "isDisabled": false })),
        ]
    }

    /// Returns the steps that install the application in the tenant.
    pub(super) fn install(&self) -> Vec<String> {
        vec![self.consent(None), format!("az ad sp create --id {}", self.id())]
    }

    /// Returns the step that assigns users.
    pub(super) fn assign(&self) -> Vec<String> {
        vec![
            "Portal: Enterprise applications > the application > Users and groups > Add user/group".to_owned(),
            format!(
                "Or no assignment at all: az ad sp update --id {} --set appRoleAssignmentRequired=false",
                self.id()
            ),
        ]
    }

    /// Returns the commands that show if Exchange lets the application send, which Graph cannot see.
    pub(super) fn ask_exchange(&self, from: &str) -> Vec<String> {
        let (client, from) = (quote_powershell(self.client), quote_powershell(from));
        vec![
            "To decide it, run in PowerShell (Connect-ExchangeOnline first):".to_owned(),
            format!("Test-ServicePrincipalAuthorization -Identity {client} -Resource {from}"),
            format!("Test-ApplicationAccessPolicy -AppId {client} -Identity {from}"),
            format!("Or send a mail to the sender itself: {} --probe", self.verify_command),
        ]
    }

    /// Returns the commands that limit sending to one mailbox (RBAC for Applications).
    pub(super) fn scope_in_exchange(&self, from: &str, object_id: Option<&str>) -> Vec<String> {
        let client = quote_powershell(self.client);
        let object_id = object_id
            .map_or_else(|| format!("(az ad sp show --id {client} --query id --output tsv)"), quote_powershell);
        // In a filter, too, a quote is doubled.
        let filter = quote_powershell(&format!("PrimarySmtpAddress -eq '{}'", from.replace('\'', "''")));
        vec![
            "In PowerShell (Connect-ExchangeOnline first):".to_owned(),
            format!("New-ServicePrincipal -AppId {client} -ObjectId {object_id} -DisplayName Mailwright"),
            format!("New-ManagementScope -Name Mailwright -RecipientRestrictionFilter {filter}"),
            format!(
                "New-ManagementRoleAssignment -App {client} -Role 'Application Mail.Send' -CustomResourceScope Mailwright"
            ),
            "Then revoke Mail.Send in Entra: a tenant-wide grant and a scoped one add up.".to_owned(),
        ]
        .into_iter()
        .chain(self.remove_permission(PermissionKind::Application, "Mail.Send"))
        .collect()
    }

    /// Returns the step for an application that Exchange lets send, and that requests the permission of Entra as well.
    pub(super) fn leave_to_exchange(&self) -> Vec<String> {
        vec![
            "If Exchange grants it (RBAC for Applications), do not consent: a grant in Entra would count for every mailbox. Remove the request:".to_owned(),
            self.remove_mail_send(),
        ]
    }

    fn remove_mail_send(&self) -> String {
        format!(
            "az ad app permission delete --id {} --api {GRAPH_APP_ID} --api-permissions b633e1c5-b582-4048-a93e-9f11b44c7e96",
            self.id()
        )
    }
}

/// Encodes the query of an address.
fn encode_query(pairs: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("https://query.invalid/").ok();
    if let Some(url) = &mut url {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}
