# Texts of the console in English. Keys begin with the page that uses them.
layout-skip = Skip to the content
layout-environment = Environment
layout-demo = Demo: the key of this service is public
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
filter-all = All
filter-apply = Filter
filter-reset = Reset
answer-yes = Yes
answer-no = No

error-title = This did not work
error-overview = Go to the overview
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
sign-in-token = Token
sign-in-help = A token of the service with at least the role viewer. An administrator creates one:
sign-in-button = Sign in

sessions-title = Sessions
sessions-lead-own = Sign-ins with your token. A session ends after 30 minutes without use, after 12 hours, or with its token.
sessions-lead-all = All sign-ins to the console. A session ends after 30 minutes without use, after 12 hours, or with its token.
sessions-name = Token
sessions-client = Browser
sessions-since = Signed in
sessions-used = Last used
sessions-until = Ends
sessions-own = this session
sessions-end = End
sessions-end-one = End the session of { $name }
sessions-everywhere = Sign out everywhere
sessions-everywhere-help = Ends every session of your token, also this one.

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
profile-outdated = before the last change
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
