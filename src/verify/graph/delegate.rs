//! The checks of a profile that sends as its users (`microsoft-graph-delegate`).
//!
//! Such a profile has no credential: a reader of the directory shows the application, or an exported registration does. Nothing
//! signs in as a user, so no mail is sent. Without either, the registration, the permissions and the consent are `unknown`. A probe
//! that was requested is `unknown`.

use super::{
    GraphCheck,
    directory_access::{DirectoryAccess, principal_not_visible, registration_not_visible, without_level},
    permission,
    probe::no_probe,
    redirect, registration,
};
use crate::{
    entra::{
        Endpoints,
        graph::{Application, Graph, GraphError, OAuth2PermissionGrant, ServicePrincipal, quote_odata},
        permissions::{PermissionKind, PermissionNames},
    },
    model::{
        Severity,
        finding::{Finding, Level},
        finding_id::FindingId,
        provider::GraphDelegate,
    },
    verify::{Verifier, remedy::Remedies},
};

const BASE: &str = "/provider/microsoft-graph-delegate";

/// The application of a delegate profile, as far as it is visible.
struct DelegateApplication {
    application: Result<Application, GraphError>,
    /// The application in its tenant; none if the directory was not read.
    installed: Option<Installed>,
    names: PermissionNames,
    level: Level,
}

/// An application in a tenant: its service principal, the grants and the assignments.
struct Installed {
    principal: Result<ServicePrincipal, GraphError>,
    /// True if users or groups are assigned; none if that is not visible.
    has_assignments: Option<bool>,
    grants: Result<Vec<OAuth2PermissionGrant>, GraphError>,
}

impl GraphCheck<'_> {
    /// Runs every check of a delegate profile.
    pub(in crate::verify) async fn delegate(&mut self, delegate: &GraphDelegate) {
        let (endpoints, found) = if let Some(manifest) = self.verifier.manifest(&delegate.client) {
            let Ok(endpoints) = Endpoints::for_cloud(&delegate.cloud) else { return };
            (endpoints, DelegateApplication::without_directory(Ok(manifest.clone()), Level::Offline))
        } else {
            let tenant = self.tenant(&delegate.cloud, &delegate.tenant, &delegate.client, BASE).await;
            let Some(endpoints) = tenant else { return };
            let found = DelegateApplication::read(self.verifier, delegate, &endpoints).await;
            (endpoints, found)
        };
        let verify_command = self.verify_command();
        let remedies = Remedies {
            verify_command: &verify_command,
            endpoints: &endpoints,
            tenant: &delegate.tenant,
            client: &delegate.client,
        };
        let mut findings = Vec::new();
        findings.extend(found.installed.as_ref().map(|installed| assignment(installed, &remedies)));
        findings.extend(registration(delegate, &found, &remedies));
        findings.extend(self.delegated_permissions(delegate, &found, &remedies));
        if self.verifier.probes() {
            findings.push(no_probe(
                "a delegate sends as the user who signs in, and no user did",
                "Send a mail from the client itself.",
            ));
        }
        self.add(found.level, findings);
    }

    fn delegated_permissions(
        &self,
        delegate: &GraphDelegate,
        found: &DelegateApplication,
        remedies: &Remedies<'_>,
    ) -> Vec<Finding> {
        let names = &found.names;
        let application = found.application.as_ref().ok();
        let requested = application.map(|application| permission::requested(application, names));
        if requested.is_none() && found.installed.is_none() {
            return permissions_not_visible(remedies);
        }
        let grants = found.installed.as_ref().and_then(|installed| installed.grants.as_ref().ok());
        let grants = grants.and_then(|grants| permission::grants_on_graph(grants, names));
        let permissions = permission::DelegatedPermissions {
            pointer: BASE,
            grants: grants.as_deref(),
            requested: requested.as_ref(),
            address_book: delegate.address_book,
            shared_sender: self.subject.profile.from_address(),
            redirect: &delegate.redirect,
            shared: self.verifier.needs(PermissionKind::Delegated, &delegate.client),
            remedies,
        }
        .check();
        permission::weaken_for_other_cloud(permissions, &delegate.cloud, names)
    }
}

/// Returns the findings for permissions and consent if neither the registration nor the tenant was read.
fn permissions_not_visible(remedies: &Remedies<'_>) -> Vec<Finding> {
    let unknown = |id, message: &str| {
        let finding = Finding::unknown(id, BASE, message);
        // Mail leaves although they are not visible.
        Finding { severity: Severity::Warning, ..finding }.remedy([
            "A reader's token decides it: Application.Read.All and Directory.Read.All in MAILWRIGHT_READER_TOKEN, or `--sign-in CLIENT`."
                .to_owned(),
            format!(
                "Or an exported registration, for the permissions: az ad app show --id {0} > app.json; {1} --manifest app.json",
                remedies.id(), remedies.verify_command
            ),
        ])
    };
    vec![
        unknown(
            FindingId::Permission,
            "it is not known whether the application requests the permissions that it needs",
        ),
        unknown(FindingId::ConsentFirst, "it is not known whether there is consent to the permissions"),
    ]
}

impl DelegateApplication {
    fn without_directory(application: Result<Application, GraphError>, level: Level) -> Self {
        Self { application, installed: None, names: PermissionNames::built_in(), level }
    }

    /// Reads everything about an application at once, as the reader.
    async fn read(verifier: &Verifier, delegate: &GraphDelegate, endpoints: &Endpoints) -> Self {
        let access = DirectoryAccess { own: None, reader: verifier.reader(endpoints, &delegate.tenant).await };
        let Ok(reader) = &access.reader else {
            return Self::without_directory(Err(access.denied()), Level::Anonymous);
        };
        let (application, installed, names) = tokio::join!(
            access.application(&delegate.client),
            Installed::read(&access, &delegate.client),
            verifier.names(Some::<&Graph>(reader), &delegate.tenant),
        );
        Self { application: without_level(application), installed: Some(installed), names, level: Level::Reader }
    }
}

impl Installed {
    async fn read(access: &DirectoryAccess, client: &str) -> Self {
        let path = |rest: &str| format!("/servicePrincipals(appId='{}'){rest}", quote_odata(client));
        // A single assignment proves that there are some, so only one is requested.
        let (grants_path, assigned_path) = (path("/oauth2PermissionGrants"), path("/appRoleAssignedTo?$top=1"));
        let (principal, grants, assigned) = tokio::join!(
            access.principal(client),
            access.list::<OAuth2PermissionGrant>(&grants_path),
            access.get::<serde_json::Value>(&assigned_path),
        );
        let has_assignments =
            assigned.ok().and_then(|(page, _)| page["value"].as_array().map(|items| !items.is_empty()));
        Self { principal: without_level(principal), has_assignments, grants }
    }
}

/// Evaluates the registration, for the platform that the clients run on.
fn registration(delegate: &GraphDelegate, found: &DelegateApplication, remedies: &Remedies<'_>) -> Vec<Finding> {
    let principal = found.installed.as_ref().map(|installed| &installed.principal);
    let installed = principal.and_then(|principal| principal.as_ref().ok());
    match &found.application {
        Ok(application) => {
            let mut findings = registration::check(application, installed, BASE, remedies);
            findings.extend(registration::check_public(application, delegate.platform, BASE, remedies));
            findings.extend(redirect::check(application, delegate.platform, &delegate.redirect, remedies));
            findings
        }
        Err(error) => {
            let mut findings = vec![registration_not_visible(error, principal, false, BASE, remedies)];
            findings.extend(registration::enabled(None, installed, BASE, remedies));
            findings
        }
    }
}

/// Evaluates who may use the application: every user of the tenant, or those that are assigned to it.
fn assignment(installed: &Installed, remedies: &Remedies<'_>) -> Finding {
    let client = format!("{BASE}/client");
    match &installed.principal {
        Ok(principal) if principal.app_role_assignment_required == Some(true) => match installed.has_assignments {
            Some(true) => Finding::pass(FindingId::Assignment, &client, "assignment is required, and users are assigned"),
            Some(false) => Finding::fail(
                FindingId::Assignment,
                &client,
                "assignment is required, and no user is assigned: every sign-in would end with AADSTS50105",
            )
            .seen("appRoleAssignmentRequired: true, no assignments")
            .expected("users or groups assigned, or no assignment required")
            .remedy(remedies.assign()),
            None => {
                Finding::unknown(FindingId::Assignment, &client, "assignment is required, and the assignments are not visible")
                    .remedy(["A reader's token with Application.Read.All decides it."])
                    .remedy(remedies.assign())
            }
        },
        Ok(_) => Finding::pass(
            FindingId::Assignment,
            &client,
            "every user of the tenant may sign in; no assignment is required",
        ),
        Err(error) if error.is_absent() => Finding::fail(
            FindingId::ServicePrincipal,
            &client,
            "the application is not installed in the tenant: that comes with the first consent, of a user or of an administrator",
        )
        .seen("no service principal")
        .expected("a service principal of the application")
        .remedy(remedies.install()),
        Err(error) => {
            principal_not_visible(error, "is enabled in the tenant and accepts users who are not assigned to it", BASE)
        }
    }
}
