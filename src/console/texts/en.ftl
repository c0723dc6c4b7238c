# Texts of the console in English. Keys begin with the page that uses them.
layout-skip = Skip to the content
layout-environment = Environment
layout-demo = Demo
layout-demo-why = The key of this service is public
layout-navigation = Areas
layout-sign-out = Sign out
layout-keys = Keyboard
language-en = English
language-de = Deutsch
keys-filter = Go to the search field
keys-rows = Next and previous row
keys-open = Open the row
keys-list = Show this list
keys-close = Close, or leave the search field
keys-done = Close

list-more = { $count ->
    [one] 1 more
   *[other] { $count } more
}
list-plus = +{ $count }
list-pages = Pages
list-page = Page { $number } of { $pages }
list-previous = Previous
list-next = Next
list-newest = Newest
list-older = Older
filter-all = All
filter-apply = Filter
filter-reset = Reset
answer-yes = Yes
answer-no = No

error-title = This did not work
error-overview = Go to the overview
error-back = Back
error-request = Request

sign-in-title = Sign in
sign-in-lead = E-mail profiles of the environment { $environment }
sign-in-notice-ended = Your session has ended. Sign in again.
sign-in-notice-out = You are signed out.
sign-in-refused = You are not signed in.
sign-in-obstacle-cookie = Your browser did not keep the session.
sign-in-obstacle-clear-text = You cannot sign in at this address.
sign-in-secure-cause = Sessions need an encrypted connection (https), or the same computer (localhost). A browser does not keep the cookie of a session otherwise, and a token would be readable on the way.
sign-in-secure-remedy = Start the service with --tls-cert and --tls-key, or put a proxy with TLS in front of it, and open the https address. On the computer of the service, open http://localhost. Allow cookies for this site.
sign-in-with = Sign in with { $provider }
sign-in-with-token = With a token
sign-in-token = Token
sign-in-help = A token of the service with at least the role viewer. An administrator creates one:
sign-in-button = Sign in with the token
sign-in-passkey = Sign in with a passkey
sign-in-passkey-here = Passkeys work at this address of the same computer:
sign-in-passkey-unset = To sign in with a passkey, the service must know the address of its console:

sessions-title = Sessions
sessions-lead-own = Your sign-ins. A session ends after 30 minutes without use, after 12 hours, or with its token or passkey.
sessions-lead-all = All sign-ins to the console. A session ends after 30 minutes without use, after 12 hours, or with its token or passkey.
sessions-name = Name
sessions-client = Browser
sessions-since = Signed in
sessions-used = Last used
sessions-until = Ends
sessions-own = this session
sessions-end = End
sessions-end-one = End the session of { $name }
sessions-everywhere = Sign out everywhere
sessions-everywhere-help = Ends every session of yours, also this one.

setup-title = Setup
setup-ready = The service accepts mail.
setup-not-ready = The service does not accept mail.
setup-suspended = { $count ->
    [one] 1 profile is suspended
   *[other] { $count } profiles are suspended
}
setup-unreachable = { $count ->
    [one] The server of 1 profile does not answer
   *[other] The servers of { $count } profiles do not answer
}
setup-differences = { $count ->
    [one] 1 difference between the store and its audit log
   *[other] { $count } differences between the store and its audit log
}
setup-more = Sign in to see version, generation and the hosts that the service sends to.
setup-confirm = Version, generation and hosts are shown after you have confirmed your identity.
setup-service = Service
setup-version = Version
setup-generation = Generation
setup-started = Running since
setup-contents = Contents
setup-profiles = { $count ->
    [one] 1 profile
   *[other] { $count } profiles
}
setup-companies = { $count ->
    [one] 1 company
   *[other] { $count } companies
}
setup-recipient = Recipient of secrets
setup-webhook-key = Key of webhooks
setup-clouds = Microsoft clouds
setup-no-clouds = No profile uses Microsoft Graph.
setup-custom = own hosts or sandbox
setup-servers = Mail servers
setup-no-servers = No profile uses a mail server.

overview-title = Overview
overview-profiles = { $count ->
    [one] profile
   *[other] profiles
}
overview-suspended = suspended
overview-failing = failing verification
overview-drift = changed outside Git
overview-settings-drift = The settings were changed outside Git:
overview-holds = Holds
overview-ending = Credentials that end soon
overview-attention = Needs attention
overview-nothing = All profiles can send.
overview-since = since
overview-until = until
overview-next-probe = next try
overview-secret-refused = the next secret was refused
overview-errors = { $count ->
    [one] 1 error
   *[other] { $count } errors
}
overview-warnings = { $count ->
    [one] 1 warning
   *[other] { $count } warnings
}
overview-unreachable = the server does not answer
overview-messages = Messages
overview-waiting = Waiting mail
overview-reason = Reason
overview-profile = Profile
overview-count = Messages
overview-oldest = Oldest
overview-no-holds = Nothing is held.
overview-no-ending = No credential ends within 45 days, as far as the last verification saw.
overview-ends = ends
overview-ended = ended
overview-not-writable = The store cannot be written. No mail is accepted or sent until it can.
overview-restored = The store was restored from a backup. No mail is accepted until an administrator confirms that.
overview-restored-remedy = Check the messages with the status unknown, then run:
status-queued = queued
status-awaiting-sender = awaiting sender
status-sending = sending
status-delivered = delivered
status-failed = failed
status-unknown = unknown
status-cancelled = cancelled
waiting-suspended = profile suspended
waiting-no-sender = no profile
waiting-held = held
waiting-server-away = server away
waiting-throttled = throttled
waiting-scheduled = scheduled

outbox-title = Outbox
outbox-search = Subject, recipient, document or id
outbox-status = Status
outbox-profile = Profile
outbox-company = Company
outbox-function = Function
outbox-reason = Waits because
outbox-since = Accepted from (UTC)
outbox-until = Accepted before (UTC)
outbox-invalid = Nothing can match: the field “{ $field }” has a value of the wrong form.
outbox-explanation = Explanation
outbox-oldest = Oldest
outbox-next = Next attempt
outbox-needs-operator = needs an operator
outbox-bulk = All messages that match
outbox-bulk-next = Continue
outbox-none = No mail has been accepted yet.
outbox-no-match = No message matches the filter.
outbox-message = Message
outbox-recipient = Recipient
outbox-accepted = Accepted
outbox-no-subject = (no subject)
outbox-attempts = { $count ->
    [one] 1 attempt
   *[other] { $count } attempts
}

message-waits = Waits:
message-last-reply = Last reply:
message-possible-duplicate = may have been sent twice
message-sent-again = sent again on request
message-done-retry = The message is due now.
message-done-cancel = The message is not sent.
message-done-replay = The message is in the queue again.
message-done-resolve = The outcome is recorded.
message-done-test = The test message is accepted. This page shows how it is sent, and what the server answers.
message-reload = Load the page again to see whether it was sent
message-id = Id
message-message-id = Message-ID
message-sender = Sent by
message-document = Document
message-size = Size
message-bytes = { $count } bytes
message-by = by
message-requeued = Queued again
message-finished = Finished
message-last = Last outcome
message-chosen = Profile, and why
message-actions = Actions
message-retry = Send now
message-retry-help = Does not wait for the next attempt, nor for the next try of a suspended profile.
message-cancel = Cancel
message-cancel-help = The message is not sent. If an earlier attempt may have sent it, its outcome is unknown.
message-resolve = Set the outcome
message-resolve-help = The server may have accepted the message. Look into its log or ask a recipient.
message-resolve-delivered = The recipients have it
message-resolve-failed = The recipients do not have it
message-resolve-reason = How that is known
message-resolve-button = Record the outcome
message-replay = Send again
message-replay-help = Sent to the recipients that did not get it. Where the outcome is unknown, a recipient may get it twice.
message-replay-sent = This message was delivered or cancelled. It is sent again only to all recipients.
message-replay-again = Also to recipients that have it: they get it twice
message-replay-button = Send again
message-recipients = Recipients
message-reply = Reply
message-attempts = Attempts
message-no-attempts = No attempt was made.
message-attempt = Attempt { $number }
message-server = server
message-phase = phase
message-took = { $count } ms
message-more-attempts = { $count ->
    [one] 1 earlier attempt
   *[other] { $count } earlier attempts
}
step-none = none
step-disabled = disabled
step-other-client = for another client
step-name-comes-later = comes later by name
recipient-waiting = waiting
recipient-delivered = delivered
recipient-failed = failed
recipient-unknown = unknown
class-delivered = accepted
class-transient = refused for now
class-throttled = throttled
class-auth = profile refused
class-size = too large
class-permanent = refused
class-unknown = unknown outcome

bulk-action-retry = Send now
bulk-action-cancel = Cancel
bulk-action-replay = Send again
bulk-action-replay-all = Send again to all recipients
bulk-action-resolve-delivered = Set the outcome: delivered
bulk-action-resolve-failed = Set the outcome: failed
bulk-help-retry = The messages do not wait for their next attempt. Limits of mailboxes and holds still apply.
bulk-help-cancel = The messages are not sent. Where an earlier attempt may have sent one, its outcome is unknown.
bulk-help-replay = The messages are sent to the recipients that did not get them. Where the outcome is unknown, a recipient may get one twice.
bulk-help-replay-all = The messages are sent again to every recipient, also to those that have them.
bulk-help-resolve-delivered = Records that the recipients have the messages.
bulk-help-resolve-failed = Records that the recipients do not have the messages.
bulk-count = { $count ->
    [one] 1 message matches.
   *[other] All { $count } messages that match.
}
bulk-count-more = More than { $count } messages match.
bulk-at-once = { $count } messages are changed at once, the newest first. The result page leads to the rest.
bulk-button = { $count ->
    [one] Confirm for 1 message
   *[other] Confirm for { $count } messages
}
bulk-button-first = Confirm for the first { $count } messages
bulk-examples = The newest of them
bulk-changed = { $count ->
    [0] No message was changed.
    [one] 1 message was changed.
   *[other] { $count } messages were changed.
}
bulk-refused = Not changed
bulk-refused-count = { $count ->
    [one] 1 message:
   *[other] { $count } messages, the first:
}
bulk-continue = Continue with the messages that are left
bulk-audit = entry { $number } of the audit log

holds-title = Holds
holds-lead = Mail that a hold covers waits until the hold is released or ends. The time for which its attempts are repeated does not run meanwhile.
holds-reason = Reason
holds-owner = By
holds-since = Since
holds-until = Until
holds-until-utc = Until (UTC)
holds-every = all
holds-no-end = until released
holds-release = Release
holds-release-one = Release the hold: { $reason }
holds-new = New hold
holds-new-help = Choose a profile, a company or a function; an empty field includes everything. Mail must match all fields.
holds-create = Hold mail

coverage-title = Coverage
coverage-lead = The profile that sends for each company and function. Choose a cell to see why.
coverage-only-gaps = Only companies with gaps
coverage-matching = { $count ->
    [one] 1 company
   *[other] { $count } companies
}
coverage-gaps = { $count ->
    [one] 1 function without a profile
   *[other] { $count } functions without a profile
}
coverage-none = The environment has no companies.
coverage-no-match = No company matches the filter.
coverage-companies = Companies
coverage-no-sender = none
coverage-unserved = none, as intended
coverage-help = Companies with equal rows are together. A profile in grey serves the function by fallback.
coverage-hidden = Your rights do not include this function.
cell-sends = Mail is sent by
cell-no-sender = No profile sends. Mail is refused.
cell-no-sender-remedy = Add the company and the function to a profile, or enable one that has both.
cell-steps = Steps
cell-rule = The function is tried first, then its fallbacks. At each step, a profile that names the company comes before a system-wide one.

audit-title = Audit
audit-search = Text in details
audit-actor = By
audit-action = Action
audit-outcome = Outcome
audit-since = From (UTC)
audit-until = Before (UTC)
audit-verify = Verify
audit-verify-help = Recomputes the chain of hashes, and compares the store with it. This can take a while.
audit-export = Export what the filter finds:
audit-none = No entry matches the filter.
audit-number = Number
audit-at = Time
audit-detail = Details
audit-check-title = Verification of the audit log
audit-check-intact = { $count ->
    [one] The chain of 1 entry is intact, and the store agrees with it.
   *[other] The chain of { $count } entries is intact, and the store agrees with it.
}
audit-check-differs = The store was changed by something other than the service.
audit-check-altered = Such a change was noticed earlier, before the entries:
audit-check-head = Newest hash
audit-check-help = Keep the newest hash in another place. Only that detects a log that was rewritten completely.
outcome-accepted = accepted
outcome-refused = refused

tokens-title = Tokens
tokens-lead = Programs and people with access to the service. A token is shown once, when it is created:
tokens-name = Name
tokens-state = State
tokens-role = Role
tokens-limits = Limited to
tokens-created = Created
tokens-ends = Ends
tokens-no-end = never
tokens-revoke = Revoke
tokens-revoke-one = Revoke the token { $name }
token-active = active
token-suspended = suspended
token-expired = expired
token-revoked = revoked

history-title = History
history-lead = The service is at generation { $number }. Each accepted change makes the next one.
history-from = Earlier generation
history-to = Later generation
history-compare = Compare
history-none = Nothing has changed since the store was created.
history-at = Time
history-by = By
history-how = How
history-source = Source
history-what = Changes
history-approved-by = approved by
history-break-glass = without approvals
signing-meaning-reviewed = has reviewed
signing-meaning-approved = has approved
signing-meaning-authored = is the author
signing-method-passkey = with a passkey
signing-method-ssh = with an SSH key
signing-method-identity-provider = with the identity provider
signature-recent-passkey = recent passkey
history-back-to = to { $number }
history-settings = Settings
history-roll-back = Roll back
history-roll-back-to = Roll back to { $number }
history-added = { $count } added
history-changed = { $count } changed
history-destroyed = { $count } removed
history-renamed = { $count } renamed
history-adopted = { $count } adopted
history-forgotten = { $count } forgotten
history-diff-title = Changes from generation { $from } to { $to }
history-equal = Nothing differs.
history-field = Field
history-before = Before
history-after = After
history-absent = none
history-more-fields = { $count ->
    [one] 1 more field
   *[other] { $count } more fields
}
difference-added = added
difference-changed = changed
difference-removed = removed

rollback-title = Roll back to generation { $number }
rollback-lead = Profiles, settings and secrets are restored as a new generation. Until the files in Git agree, it is shown as drift. Now: generation { $number }.
rollback-refused = The rollback is not possible.
rollback-approvals = The rollback needs approvals:
rollback-approvals-remedy = Save it, have it approved, and apply it:
rollback-warnings = Warnings
rollback-guards = Severe consequences
rollback-allow = This is intended
rollback-button = Roll back to { $number }
rollback-back = Cancel

profiles-title = Profiles
profiles-search = Name, description or sender
profiles-function = Function
profiles-functions = Functions
profiles-company = Company
profiles-companies = Companies
profiles-state = State
profiles-drift = Changed outside Git
profiles-matching = { $count ->
    [one] 1 profile matches.
   *[other] { $count } profiles match.
}
profiles-none = There are no profiles yet.
profiles-no-match = No profile matches the filter.
profiles-never = never
profiles-column-name = Name
profiles-column-provider = Provider
profiles-column-state = State
profiles-column-verified = Verified
profiles-column-changed = Changed
provider-smtp = SMTP
provider-microsoft-graph-direct = Microsoft Graph, application
provider-microsoft-graph-delegate = Microsoft Graph, user
state-suspended = suspended
state-unreachable = unreachable
state-failing = failing
state-removed = removed
state-paused = paused
state-disabled = disabled
state-unverified = not verified
state-ready = ready
drift-unmanaged = not in Git
drift-restored = restored
drift-changed = changed
drift-removed = removed
drift-help-unmanaged = No apply has ever set this profile: it was made outside Git.
drift-help-restored = The last apply left no such profile, and a rollback brought it back.
drift-help-changed = The profile differs from what the last apply left. It was changed outside Git.
drift-help-removed = The profile was removed outside Git. These are its settings as the last apply left them.

profile-settings = Settings
profile-settings-applied = Settings of the last apply
profile-differences = Differences from the last apply
profile-field = Field
profile-applied-value = Last apply
profile-live-value = Now
profile-provider = Provider
profile-server = Server
profile-encryption = Encryption
profile-username = User name
profile-password = Password (secret)
profile-client-secret = Client secret (secret)
profile-certificate = Certificate (secret)
profile-token-file = Federated token file
profile-cloud = Cloud
profile-tenant = Tenant
profile-client = Application (client) id
profile-platform = Platform
profile-redirect = Redirect URI
profile-address-book = Address book
profile-from = Sender
profile-from-name = Sender's name
profile-dkim = DKIM selector
profile-enabled = Enabled
profile-origins = Where each value comes from
profile-origins-help = The change that gave each field its present value. With the files at hand, this names the line:
profile-origin-older = older than the last 200 changes of the profile
profile-limits = Limits
profile-limit-minute = Messages per minute
profile-limit-concurrency = Messages at the same time
profile-limit-day = Recipients per day
profile-limit-size = Size of a message, MiB
profile-serves = Functions
profile-system-wide = system-wide
profile-system-wide-help = System-wide: every company without a profile of its own for the function.
profile-change = Last change
profile-changed-at = Time
profile-changed-by = By
profile-changed-how = How
profile-commit = Commit
profile-dirty = with uncommitted changes
profile-branch = Branch
profile-author = Author
profile-signature = Signature
profile-approvals = Approvals
profile-credentials = Credentials
profile-no-credentials = No credential with an end is known, and no secret is being rotated.
profile-credential = The credential
profile-next = next value
profile-verified = Verification
profile-level = level
profile-passed = { $count ->
    [one] 1 check passed
   *[other] { $count } checks passed
}
profile-outdated = of other settings than the live ones
profile-seen = Found
profile-expected = Expected
profile-other-findings = Passed and waived
profile-waived = waived
profile-not-verified = The profile has not been verified. Verify it:
profile-suspended = Suspended: its mail waits until the cause is removed.
profile-unreachable = The server does not answer. Mail waits and is tried again.
profile-paused = The server asked to wait until
profile-held = Held:
change-apply = apply from files
change-manual = by hand
change-rollback = rollback
encryption-starttls = STARTTLS
encryption-tls = TLS
encryption-none = none
platform-native = desktop client
platform-spa = web client
rotation-staged = next value waits
rotation-refused = next value refused
rotation-promoted = next value in use
level-offline = settings only
level-anonymous = without sign-in
level-credential = with the credential
level-reader = with the directory reader
level-probe = with a test mail
verdict-fail = failed
verdict-unknown = unknown
verdict-pass = passed
severity-error = error
severity-warning = warning
severity-info = info
signature-good = good
signature-unknown-key = unknown key
signature-expired = expired
signature-revoked = revoked
signature-bad = bad
signature-unchecked = not checked
signature-none = none

function-default = Default
covers-default = Every function that no profile claims
function-system-administration = System Administration
covers-system-administration = Password recovery (forgot, reset, retry), multi-factor authentication, OData authentication, similar administrative mail
function-user-interface = User Interface
covers-user-interface = Mail started from the user interface: context menus, hyperlinks, exports from grids and charts, configuration files (roles, settings, logs)
function-electronic-signatures = Electronic Signatures
covers-electronic-signatures = Mail triggered by an electronic signature
function-all-reports = All Reports
covers-all-reports = Report generation and review programs
function-document-flow-manager = Document Flow Manager
covers-document-flow-manager = All mail of the Document Flow Manager
function-all-documents = All Documents
covers-all-documents = Every document that no profile below claims (statements, quotes, invoices, ...)
function-documents-remittance = Documents Remittance
covers-documents-remittance = AP remittance: AP check, EFT, cashbook remittance
function-documents-accounts-receivable = Documents Accounts Receivable
covers-documents-accounts-receivable = AR statements, dunning letters, discount notes, permanent entries, AR invoices
function-document-quotations = Document Quotations
covers-document-quotations = Quotations: multiple columns, multiple lines, single
function-document-inventory-movements = Document Inventory Movements
covers-document-inventory-movements = Issues, purchase order receipts, stock receipts, transfers out, RMA issues
function-document-purchasing = Document Purchasing
covers-document-purchasing = Blanket contracts, purchase orders (foreign and local)
function-document-quality = Document Quality
covers-document-quality = Purchase order inspections: PO rejections, PO scrap, factory documentation, WIP inspection, WIP scrap

profiles-new = New profile

profile-edit = Change
profile-enable = Enable
profile-disable = Disable
profile-delete = Delete
profile-patch = Files for Git, as a patch
profile-patch-help = After that the plan is empty, unless the files have other changes:
patch-help = Save the patch in the repository of the files. This command changes the files in the form that they have, and commits nothing:
patch-help-git = git am { $name }.patch commits the same change, but only if the files have the form that Mailwright writes. Both need the changed fields as the last apply left them.

form-title-new = New profile
form-title-edit = Change { $name }
form-proposal-only = Changes are proposed in this environment. Another person applies them, or signs them where signatures are required.
form-conflict = This profile was changed since you opened it:
form-conflict-deleted = This profile was deleted since you opened it:
form-conflict-help = The form has what you typed. Compare it with the changes above; your next plan replaces them.
form-problems = { $count ->
    [one] 1 problem
   *[other] { $count } problems
}
form-problem-number = Write a whole number from { $least } to { $most }.
form-problem-choice = Choose one of these.
form-continue = Continue
form-change-provider = Another provider
form-change-provider-help = Begins again with the fields of that provider.
form-provider-smtp = A mail server: its host, and a user name and password, an application in Entra, or no sign-in.
form-provider-microsoft-graph-direct = Microsoft 365. The application that is registered in Entra sends as one mailbox, without a user.
form-provider-microsoft-graph-delegate = Microsoft 365. Users who have signed in to the ERP send as themselves; User Interface only.
form-section-general = Profile
form-section-connection = Connection
form-section-sender = Sender
form-section-limits = Limits
form-name = Name
form-help-name = Letters, digits, dot, underscore and hyphen. It is also the name of the file, and cannot be changed here later.
form-description = Description
form-help-description = What the profile is for; up to 100 characters.
form-host = Host
form-help-host = Name or address of the mail server, without a port.
form-port = Port
form-help-port = 587 with STARTTLS, 465 with TLS. Empty: the usual one.
form-encryption = Encryption
form-help-encryption = It is never weakened. Without encryption, passwords are sent to this computer only.
form-login = Sign-in
form-username = User name
form-help-username = For the application, the mailbox that sends.
form-cloud = Cloud
form-help-cloud = The cloud that the tenant is in.
form-sign-in = Host of the sign-in
form-help-sign-in = https:// and the host, without a path. Secrets are sent there.
form-graph = Host of Graph
form-help-graph = https:// and the host, without a path.
form-tenant = Tenant
form-help-tenant = The directory (tenant) id, or one of its domains.
form-client = Application (client) id
form-help-client = From the overview of the registration.
form-credential = Credential
form-token-file = Federated token file
form-help-token-file = The whole path on the computer of the service, which has to be started with this file.
form-platform = Platform
form-help-platform = The client that users work in.
form-redirect = Redirect URI
form-help-redirect = https://localhost for the desktop client, the address of the web client otherwise.
form-address-book = Address book
form-help-address-book = Recipients are looked up in the address book.
form-from-address = Address
form-help-from-address = The address that mail comes from. A user's profile needs none.
form-from-name = Display name
form-help-from-name = Shown next to the address; can be empty.
form-from-dkim = DKIM selector
form-help-from-dkim = Where the domain publishes its key; only for verification.
form-preset = Preset
form-help-preset = Fills the limits that are empty.
form-per-minute = Messages per minute
form-help-per-minute = Empty: as the preset.
form-concurrency = Messages at the same time
form-help-concurrency = Empty: as the preset.
form-recipients-per-day = Recipients per day
form-help-recipients-per-day = Empty: as the preset.
form-message-size = Size of a message, bytes
form-help-message-size = Empty: as the preset.
form-secret = Name of the secret
form-help-secret = NAME/KEY, the path of its file in Git. Empty: the name of the profile and the kind.
form-login-none = without sign-in
form-login-password = user name and password
form-login-oauth = application in Entra (XOAUTH2)
form-cloud-global = worldwide
form-cloud-us-government-l4 = US Government L4 (GCC High)
form-cloud-us-government-l5 = US Government L5 (DoD)
form-cloud-china = China (21Vianet)
form-cloud-custom = other hosts
form-credential-client-secret = client secret
form-credential-certificate = certificate
form-credential-federated = federated token file
form-preset-usual = by the host
form-preset-own = own mail server
form-preset-exchange-online-smtp = Exchange Online by SMTP
form-preset-microsoft-graph = Microsoft Graph
form-value-password = Password
form-value-client-secret = Client secret
form-value-certificate = Certificate with its private key (PEM)
form-value-help = It is encrypted in this browser, and never shown again.
form-sealed-for = The value can be read with the keys of these recipients, and no others:
form-sealed-service = this service
form-sealed-left-out = It is not encrypted for these recipients, because their keys need a plugin of age, which a browser does not have:
form-sealed-rekey = When the patch is in Git, another operator lets them read it:
form-sealed-set = So no operator can read it. Set the value on the command line instead:
form-sealed-unknown = The service does not know the operators of this environment yet, so that none of them can read the value. Apply the files first; they have secrets/…/recipients.txt:
form-value-sealed = A value has been encrypted; leave the field empty to keep it.
form-secret-kept = The service has a value. Leave the field for the value empty to keep it.
form-no-script = Secrets are encrypted in the browser, which needs JavaScript. Without it, set the value on the command line:
form-enabled-help = A disabled profile is never chosen, as if it did not exist.
form-only-companies = Only these companies:
form-no-companies = The environment has no companies.
form-more-companies = { $count ->
    [one] 1 more company is not listed. The files in Git can name it.
   *[other] { $count } more companies are not listed. The files in Git can name them.
}
form-delegate-functions = A user signs in and sends, so this provider serves User Interface only.
form-served-by = Claimed now by { $profiles }
form-falls-back = Not claimed now; falls back to { $function }
form-served-by-none = Not claimed now
form-plan = Show the plan
form-plan-help = Nothing is changed yet.
form-cancel = Cancel

plan-title = Plan for { $name }
plan-action-create = create
plan-action-update = change
plan-action-delete = delete
plan-action-rename = rename
plan-action-adopt = adopt
plan-action-forget = forget
plan-conflict-help = The plan below starts from what is live now. Apply it only if you still want it.
plan-lead = What would happen, computed from generation { $generation }. Nothing is changed yet.
plan-empty = Nothing would change.
plan-refused = The plan was not applied.
plan-fields = Fields
plan-field = Field
plan-before = Now
plan-after = Then
plan-unchanged = { $count ->
    [one] 1 field stays as it is.
   *[other] { $count } fields stay as they are.
}
plan-coverage = Senders that change
plan-coverage-same = The same profile sends for every company and function as before.
plan-no-sender = no sender
plan-signed-in-user = the signed-in user
plan-guards = Guards
plan-guards-help = The change is applied only if you confirm each of these.
plan-verification = Verification
plan-not-verified = There is nothing to verify: no enabled profile is set.
plan-accept-unverified = Apply without verification; the reason below is needed
plan-accept-findings = Apply in spite of these errors; the reason below is needed
plan-accept-findings-of = Apply { $name } in spite of its errors; the reason below is needed
plan-more-failing = { $count ->
    [one] One more profile has errors, and cannot be accepted here. Apply the files on the command line.
   *[other] { $count } more profiles have errors, and cannot be accepted here. Apply the files on the command line.
}
plan-verified-others = { $count ->
    [one] One more profile was verified.
   *[other] { $count } more profiles were verified.
}
plan-digest = Digest
plan-approvals-help = This environment requires signatures for the change. Propose it, and let the signers sign the proposal; or commit the files, and let them approve the plan that the command line makes.
plan-drift = Difference from Git
plan-drift-help = A change in the console is not in Git. It is reported as drift until Git has it.
plan-decide = Decide
plan-reason = Reason, for the audit log; needed to accept findings
plan-apply = Apply
plan-patch = Files for Git, as a patch
plan-sealing-rekey = Not every operator can read the new value. When the patch is in Git, an operator who can read it runs:
plan-sealing-set = No operator can read the new value, only this service. Set it on the command line when the patch is in Git:
plan-back = Back to the form
plan-patch-help = The patch changes files, not the service: if the change is not applied here, the next plan of the files has it.
proposal-patch = Files for Git

secret-change-new = new secret
secret-change-rotated = value changed
secret-change-resealed = encrypted again, same value
secret-change-file-changed = file changed
secret-change-renamed = same secret, another name
secret-change-removed = secret removed
secret-change-rotation-finished = rotation finished
secret-change-next-staged = next value
secret-change-next-replaced = another next value
secret-change-next-resealed = next value encrypted again
secret-change-next-withdrawn = next value withdrawn

seal-insecure = Secrets are encrypted in the browser, which works only at an https address or on the computer of the service.
seal-recipient = A recipient of this environment cannot be used in a browser. Set the value on the command line.
seal-mixed = The recipients of this environment cannot be combined in one file. Set the value on the command line.
seal-library = The script that encrypts was not loaded. Load the page again.
seal-failed = The value could not be encrypted. Load the page again.
seal-destination = First fill in where the secret is sent to: host and encryption, or tenant and client.
seal-empty = The value is empty.
seal-too-long = The value has more than 16 KiB.
seal-utf-16 = The file is UTF-16. Save it as UTF-8.
seal-keystore = This is a Java keystore. Export it as PEM.
seal-der = This is a PFX file or a binary certificate (DER). Convert it to PEM.
seal-not-text = This is not text.
seal-age-file = This is encrypted already. Type the value itself.
seal-merge-markers = The file has merge conflicts.
seal-pointer = This is a pointer of Git LFS, not the file itself.
seal-control = There are control characters in it.
seal-blank = The value consists of blanks.
seal-mark = There is a byte order mark in it.
seal-encrypted = The value is encrypted by another program.
seal-pem-in-base64 = This is a PEM file in base64. Decode it first.
seal-kubernetes = This is a secret of Kubernetes. Take the decoded value from it.
seal-web-key = This is a JSON web key. Convert it to PEM.
seal-base64 = This is a PFX or DER file in base64. Convert it to PEM.
seal-masked = This is a mask, not the value.
seal-private-key = This is a private key, not a password.
seal-json = This is a JSON document. Take the value from it.
seal-secret-id = This is the id of the secret. Copy the column with the value.
seal-line-breaks = There are line breaks in it.
seal-invisible-end = It begins or ends with an invisible character.
seal-blank-end = It begins or ends with a blank.
seal-assignment = This is an assignment. Type only the value.
seal-no-certificate = There is no certificate in it.
seal-no-key = There is no private key in it.
seal-encrypted-key = The private key has a passphrase. Remove it first.
seal-openssh-key = The key has the form of OpenSSH. Convert it to PEM.

plan-missing-right = Your rights do not let you apply this change. You can propose it, and a person with these rights applies it.
plan-host-unverified = The service did not contact the host, because only people who may apply changes decide which new hosts it contacts. Propose the change: the person who applies it verifies it there.
plan-propose = Propose
proposals-title = Proposals
proposals-lead = Proposed changes, which another person signs, applies or rejects.
proposals-none = There are no proposals.
proposals-by = Proposed by
proposal-title = Proposal for { $name }
proposal-profile = Open the profile { $name }
proposal-files = Plan of files
proposal-settings-hidden = The plan changes settings that you may not see.
proposal-status-open = open
proposal-status-expired = expired
proposal-status-applied = applied
proposal-status-rejected = rejected
proposal-ends = It can be signed and applied until
proposal-expired = Its time is over: it can no longer be signed and applied. Propose the change again. It ended
proposal-withdraw = Withdraw
proposal-conflict = The profile was changed since generation { $generation }, from which this was proposed. It cannot be applied any more.
proposal-other = This is your proposal. Another person applies it, or approves it with a passkey or at the identity provider where signatures are required.
proposal-signed = You have signed this proposal, and the signature is needed. Another person applies it.
proposal-incomplete = It can be applied when all signatures are there.
proposal-reason = Reason, to reject it or to accept findings
proposal-verify = Verify now
proposal-reject = Reject
proposal-signatures = Signatures
proposal-missing = Missing:
proposal-text = Text to sign
proposal-sign-help = Save the text as a file, as it is, and sign it. Each change of the configuration makes earlier signatures void.
proposal-signature = Signature (contents of FILE.sig)
proposal-approve = Add the signature
sign-title = Sign
sign-lead = This is what you sign. Compare it with the plan on the page of the proposal.
sign-back = Proposal
sign-who = Signer
sign-meaning = Meaning
sign-reason = Reason
sign-reason-required = with a reason
sign-environment = Environment
sign-action = Action
sign-apply = Apply the change to generation { $generation }
sign-digest = Digest of the change
sign-expires = Counts until
sign-text = Text whose digest is signed
sign-button = Sign with a passkey
sign-provider = Sign with { $provider }
sign-provider-lead = Your identity provider asks you for your password or key, and confirms that you sign this text. If you do not want to sign it, go back.
sign-review = Continue to sign
sign-ssh-reason = Reason, which is part of the text
sign-ssh-text = Show the text with this reason
sign-ssh = Sign with an SSH key
signing-wanted-reviewed = I have reviewed it
signing-wanted-approved = I approve it
signing-wanted-authored = I am its author

passkey-unavailable = This browser has no passkeys for this address. They need https and a host name, or http://localhost.
passkey-cancelled = The device did not answer: you cancelled, the time is over, or it has no passkey for this address.
passkey-registered = This device has a passkey for you already. Use another device.
passkey-failed = The device did not make a usable answer. Try again, or use another device.
passkey-no-script = Passkeys need JavaScript, which is off in this browser. Without it, sign in with a token.
passkey-label = Name of the passkey
passkey-label-help = For example the device that it is kept on, so that you recognise it later.
passkey-label-default = My device
passkey-added = Added
passkey-used = Last used
passkey-synced = synchronised
passkey-now = this session
passkey-link-by = by a link from { $name }
passkey-remove = Remove
passkey-remove-one = Remove the passkey { $name }

enroll-title = Make a passkey
enroll-lead = You were given a link to sign in to the console of { $environment }. It works once.
enroll-code = Code of the link
enroll-code-help = The link fills it in. Otherwise paste what comes after the # in it.
enroll-continue = Continue
enroll-name = The link is for { $name }. If that is not you, close this page and tell who gave it to you.
enroll-button = Make a passkey and sign in
enroll-help = Your device asks for your fingerprint, face or PIN, and keeps a key for this site. Nothing secret is sent. This page waits five minutes; then open the link again.

confirm-title = Confirm your identity
confirm-lead = What you asked for needs a recent confirmation that it is you.
confirm-token = You are signed in with a token, which is not a person and cannot confirm an identity. Sign out, and sign in with a passkey.
confirm-button = Confirm with a passkey
confirm-provider = Confirm with the identity provider
confirm-back = Back

account-title = Account
account-kind-token = You are signed in with a token. It has the rights of its role, and of bindings to its name.
account-kind-operator = You are signed in with a passkey. You have the rights of your role, and of bindings to your name.
account-kind-identity = You are signed in by an identity provider. You have the rights that its groups and roles give you.
account-passkeys = Passkeys
account-add = Another passkey
account-add-button = Make a passkey
account-confirm-first = To add or remove a passkey, confirm your identity first:

operators-title = Operators
operators-lead = People who sign in to this console with a passkey. Names are never given to another person.
operators-none = There are no operators yet.
operators-name = Name
operators-name-help = access.yaml names it: operator: NAME. It cannot be changed.
operators-state = State
operators-role = Role
operators-role-help = bound has only the rights that access.yaml gives to the name. You can give no rights that you do not have.
operators-created = Created
operators-removed = Removed
operators-actions = Actions
operators-link-until = Link valid until
operators-confirm = Confirm
operators-confirm-one = Confirm { $name } after the restore
operators-link = New link
operators-link-one = New link for { $name }
operators-remove = Remove
operators-remove-one = Remove the operator { $name }
operators-remove-passkey-one = Remove the passkey { $label } of { $name }
operators-add = Add an operator
operators-add-button = Add and show the link
operators-hours = Link valid for
operators-for-hours = { $count ->
    [one] { $count } hour
   *[other] { $count } hours
}
operators-link-title = Enrolment link
operators-link-lead = Give this link to { $name }, and to no one else, on a way that others cannot read. It is shown once, and works once.
operators-link-incomplete = The service does not know the address of its console, so the link lacks its beginning. Start it with
operators-link-reset = This person has passkeys. Whoever opens the link can sign in as this person; the audit log and an event say that you made it.
operator-active = active
operator-invited = invited
operator-without = without a passkey
operator-suspended = suspended
operator-removed = removed

# Verify
verify-title = Verify
verify-lead = Checks registrations, permissions, credentials and mail servers of the enabled profiles, as they are live.
verify-all = { $count ->
    [one] Verify the enabled profile
   *[other] Verify { $count } enabled profiles
}
verify-now = Verify now
verify-runs = Runs
verify-none = No run since the service was started.
verify-started = Started
verify-by = By
verify-what = Profiles
verify-profiles = { $count ->
    [one] 1 profile
   *[other] { $count } profiles
}
verify-failures = { $count ->
    [one] 1 profile with errors
   *[other] { $count } profiles with errors
}
verify-standing-running = running
verify-standing-complete = complete
verify-standing-incomplete = ended early
verify-run-title = Verification
verify-progress = { $done } of { $total } verified
verify-reload = Show the progress again
verify-incomplete = The run ended before all profiles were verified: the session ended, or the results could not be stored. Start another one.
verify-good = No errors. Warnings are on the pages of the profiles.
verify-results = Findings with their remedies

# Rollouts
rollouts-title = Rollouts
rollouts-lead = What this service knows of rollouts and of watch: who holds a lease now, and what was applied.
rollouts-state = State
rollouts-applied = Last applied
rollouts-commit = Commit
rollouts-since = Since then
rollouts-no-drift = nothing was changed outside Git
rollouts-drift = { $count ->
    [0] no profile changed outside Git
    [one] 1 profile changed outside Git
   *[other] { $count } profiles changed outside Git
}
rollouts-never = The files were never applied.
rollouts-earlier = The files were not applied in the newest { $count } generations.
rollouts-watch = Watch
rollouts-no-watch = No watch holds the lease of this environment: none applies its changes now.
rollouts-watch-help = A watch that only reports holds no lease. What it waits for is on its status page, and in:
rollouts-running = Rollouts in progress
rollouts-none = No rollout holds a lease here. A rollout has its lease at the service of its coordinator only.
rollouts-help = Waves, environments and pauses are in the journal of a rollout, on the machine that runs it.
rollouts-applies = Applies

# Access
access-title = Access
access-lead = Roles and bindings that are live. They are changed in environments/{ $environment }/access.yaml.
access-explain = What may a subject do?
access-subject = Subject
access-token-role = Role of the token or operator
access-ask = Show
access-role = Role
access-unbound = No binding names it.
access-bound = Bindings:
access-role-unknown = It also has the built-in role that it was created with: choose it above.
access-nothing = It may do nothing.
access-area = Area
access-areas = Areas
access-activity = Activity
access-activities = Activities
access-by = Role (grant)
access-limits = Limits
access-no-limits = none
access-who = Who may change a field?
access-field = Field
access-profile = Profile
access-no-profile = This profile does not exist.
access-no-holder = No one may.
access-who-help = A change also needs a way to make it: edit in changes by hand, apply for the files of Git.
access-bindings = Bindings
access-no-bindings = There are no bindings: tokens and operators have the built-in roles that they were created with.
access-binding = Binding
access-subjects = Subjects
access-roles = Roles
access-built-in = Built-in roles
access-own-roles = Roles of the policy
access-further = the same role

test-title = Test message
test-lead = A short message with a fixed text, sent as mail of the ERP is: by this profile, under its limits and holds.
test-to = To
test-to-help = One address, for example your own.
test-rewritten = In this environment all mail goes to { $address } instead.
test-allowed = This environment sends only to { $addresses }.
test-button = Send a test message
test-obstacle-delegate = This profile sends as a user who has signed in to the ERP. The service cannot sign in as a user, so it cannot send a test message: send one from the ERP, as that user. “Verify now” checks the registration.
test-obstacle-disabled = The profile is disabled, so it sends nothing. Enable it first.
test-obstacle-right = You cannot send a test message: your rights do not include submit in mail for a company and function of this profile.
test-obstacle-other-profiles = For all its companies and functions another profile comes first, so this one sends nothing now. Coverage shows which, and why.
test-mail-subject = Test message of the profile { $profile } ({ $environment })
test-mail-text =
    This is a test message of Mailwright. It can be deleted.

    Environment: { $environment }
    Profile: { $profile }
    Company: { $company }
    Function: { $function }
    Sent: { $time }

wait-means-suspended = The server, or Microsoft, refuses what this profile signs in or sends with. All mail of the profile waits, and none is lost. The service tries again by itself at the time below.
wait-means-no-sender = No profile that the service can send by serves this company and function now.
wait-means-held = An operator lets this mail wait, for the reason below. Nothing is wrong with the profile.
wait-means-server-away = The server cannot be reached. The service tries again by itself, and the time for which attempts are repeated goes on.
wait-means-throttled = The server accepts no more for now. The service waits as long as it asked for, and then continues by itself.
wait-means-limited = The limits of this profile are reached. Its mail is sent as they allow, by itself.
wait-means-retry = The last attempt did not succeed, and the server did not refuse the message for good. The service tries again by itself at the time below.
wait-means-scheduled = The message is due, and is sent in its turn.
wait-remedy-suspended = Correct the profile: a new value for a refused secret, or the server, or the permission that the reply names. Once the change is applied, the mail is sent; “Send now” tries at once.
wait-remedy-no-sender = Add the company and the function to a profile, or enable one that has both.
wait-remedy-held = Release the hold, or wait until it ends.
wait-remedy-server-away = Check name and port of the server in the profile, and whether the service can reach it. “Verify now” on the page of the profile tests the connection.
wait-remedy-throttled = There is nothing to do. If it happens often, lower the limits of the profile to what the server allows.
wait-remedy-limited = There is nothing to do. If the server allows more, raise the limits of the profile.
wait-remedy-retry = If the reply names a cause, remove it; “Send now” does not wait for the next attempt.
wait-remedy-scheduled = There is nothing to do.
wait-link-profile = Page of the profile
wait-link-holds = Holds
wait-link-edit = Change the profile
wait-link-coverage = Why no profile sends
wait-rotation = Rotation of the secret:
wait-command = The same on the command line:

delegate-title = Waiting for me
delegate-lead = Messages that leave from your own mailbox. They wait until you send them here.
delegate-lead-one = A message that leaves from your own mailbox. It waits until you send it here.
delegate-all = All messages that wait
delegate-no-script = This page needs JavaScript: it signs you in to Microsoft, and sends from your mailbox in the browser.
delegate-no-profile = There is nothing to send with here: no enabled profile sends as a signed-in user in the browser (microsoft-graph-delegate, platform spa), or you may not submit the mail of users for any company.
delegate-profile = Profile
delegate-choose = Choose
delegate-sign-in = Sign in to Microsoft
delegate-sign-in-help = You send as the account with which you sign in. This service gets no access to your mailbox: only this tab has it.
delegate-account = Signed in to Microsoft as
delegate-other-account = Use another account
delegate-sign-out = Forget this account
delegate-consent = The application has no consent to send for you. An administrator of your organisation gives it for all users:
delegate-consent-link = Give consent
delegate-return-title = Sign-in to Microsoft
delegate-return-none = There is no sign-in to continue in this tab.
delegate-empty = Nothing waits for this account.
delegate-reload = Load again
delegate-send = Send
delegate-look = Look into Sent Items
delegate-cancel = Cancel
delegate-leaving = Going to Microsoft …
delegate-loading = Loading …
delegate-submitting = Handing the message over …
delegate-sending = Sending … Keep this tab open.
delegate-sent = Sent: { $subject }
delegate-failed = Microsoft refuses this message for good: { $subject }. { $reason }
delegate-released = Not sent; the message waits: { $subject }. { $reason }
delegate-unknown = It is not known if Microsoft accepted this message: { $subject }. Look into Sent Items before you send it again. { $reason }
delegate-upload-refused = The browser may not upload the attachment { $name }, which is too large for one request. The message waits. Send it from a desktop, if the application also has the platform “Mobile and desktop applications”:
delegate-upload-command = mailwright delegate run %environment% --tenant %tenant% --application %client%
delegate-cancelled = Cancelled: { $subject }
delegate-not-found = This message is not in Sent Items: { $subject }. It can still appear there; its outcome stays unknown.
delegate-not-reported = The outcome is “{ $outcome }”, and the service does not know it. Do not send the message again. When the service answers, look into Sent Items here.
delegate-other-redirect = You cannot sign in to Microsoft here. The redirect URI of the profile is { $redirect }, and that of this page is { $expected }. Register the latter in Entra for the platform “Single-page application” and enter it in the profile, or send with the program at the former.
delegate-other-account-waits = This message waits for another account than { $account }. Use the account for which it was submitted.
delegate-changed-account = You signed in with another account than before. Nothing was sent. This page is now that of { $account }.
delegate-mixed-accounts = Microsoft gave the permission to send to another account. Nothing was sent. Forget this account, and sign in again.
delegate-leased = Another window or program of yours is sending this message.
delegate-again = Microsoft wants you to sign in again. The message waits; press the button again.
delegate-session-ended = Your session of the console has ended. Load the page again; the message was not accepted.
delegate-problem = This did not work: { $reason }
delegate-no-subject = (no subject)
delegate-named = { $by } says that this message is yours. Send it only if you know it.
delegate-facts = { $company } · submitted by { $by } · %at%
delegate-possible-duplicate = It may have been sent before. It waits until { $until }.
delegate-status-awaiting-sender = It waits until { $until }.
delegate-status-sending = It is being sent, at most until { $until }.
delegate-status-unknown = It is not known if it was sent.
delegate-status-delivered = It was sent.
delegate-status-failed = It failed.
delegate-status-cancelled = It was cancelled.

compose-title = Compose
compose-lead = A message that leaves from your own mailbox, and is in its Sent Items.
compose-company = Company
compose-to = To
compose-to-help = Several addresses are separated by commas.
compose-cc = Copy to
compose-bcc = Blind copy to
compose-subject = Subject
compose-text = Text
compose-attachments = Attachments
compose-attachments-help = A single file of more than about 2.9 MB can usually not be sent from a browser.
compose-send = Send
compose-shown = Show the message
