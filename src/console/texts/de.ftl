# Texte der Konsole auf Deutsch. Die Schlüssel sind die der englischen Datei.
layout-skip = Zum Inhalt
layout-environment = Umgebung
layout-demo = Demo: Der Schlüssel dieses Dienstes ist öffentlich
layout-navigation = Bereiche
layout-sign-out = Abmelden
layout-keys = Tastatur
language-en = English
language-de = Deutsch
keys-filter = Zum Suchfeld
keys-rows = Nächste und vorige Zeile
keys-open = Zeile öffnen
keys-list = Diese Liste zeigen
keys-close = Schließen oder das Suchfeld verlassen
keys-done = Schließen

list-more = { $count ->
    [one] 1 weiteres
   *[other] { $count } weitere
}
list-plus = +{ $count }
list-pages = Seiten
list-page = Seite { $number } von { $pages }
list-previous = Zurück
list-next = Weiter
filter-all = Alle
filter-apply = Filtern
filter-reset = Zurücksetzen
answer-yes = Ja
answer-no = Nein

error-title = Das hat nicht geklappt
error-overview = Zur Übersicht
error-request = Anfrage

sign-in-title = Anmelden
sign-in-lead = E-Mail-Profile der Umgebung { $environment }
sign-in-notice-ended = Ihre Sitzung ist beendet. Melden Sie sich wieder an.
sign-in-notice-out = Sie sind abgemeldet.
sign-in-refused = Sie sind nicht angemeldet.
sign-in-obstacle-cookie = Ihr Browser hat die Sitzung nicht behalten.
sign-in-obstacle-clear-text = Unter dieser Adresse können Sie sich nicht anmelden.
sign-in-secure-cause = Sitzungen brauchen eine verschlüsselte Verbindung (https) oder denselben Rechner (localhost). Sonst behält ein Browser den Cookie der Sitzung nicht, und ein Token wäre unterwegs lesbar.
sign-in-secure-remedy = Starten Sie den Dienst mit --tls-cert und --tls-key, oder stellen Sie einen Proxy mit TLS davor, und öffnen Sie die https-Adresse. Auf dem Rechner des Dienstes öffnen Sie http://localhost. Erlauben Sie Cookies für diese Seite.
sign-in-token = Token
sign-in-help = Ein Token des Dienstes, mindestens mit der Rolle viewer. Eine Administratorin oder ein Administrator legt ihn an:
sign-in-button = Anmelden

sessions-title = Sitzungen
sessions-lead-own = Anmeldungen mit Ihrem Token. Eine Sitzung endet nach 30 Minuten ohne Nutzung, nach 12 Stunden oder mit ihrem Token.
sessions-lead-all = Alle Anmeldungen an der Konsole. Eine Sitzung endet nach 30 Minuten ohne Nutzung, nach 12 Stunden oder mit ihrem Token.
sessions-name = Token
sessions-client = Browser
sessions-since = Angemeldet
sessions-used = Zuletzt benutzt
sessions-until = Endet
sessions-own = diese Sitzung
sessions-end = Beenden
sessions-end-one = Sitzung von { $name } beenden
sessions-everywhere = Überall abmelden
sessions-everywhere-help = Beendet jede Sitzung Ihres Tokens, auch diese.

setup-title = Einrichtung
setup-ready = Der Dienst nimmt Mail an.
setup-not-ready = Der Dienst nimmt keine Mail an.
setup-suspended = { $count ->
    [one] 1 Profil ist ausgesetzt
   *[other] { $count } Profile sind ausgesetzt
}
setup-unreachable = { $count ->
    [one] Der Server von 1 Profil antwortet nicht
   *[other] Die Server von { $count } Profilen antworten nicht
}
setup-differences = { $count ->
    [one] 1 Unterschied zwischen Speicher und Prüfprotokoll
   *[other] { $count } Unterschiede zwischen Speicher und Prüfprotokoll
}
setup-more = Nach der Anmeldung sehen Sie Version, Generation und die Rechner, an die der Dienst sendet.
setup-service = Dienst
setup-version = Version
setup-generation = Generation
setup-started = Läuft seit
setup-contents = Inhalt
setup-profiles = { $count ->
    [one] 1 Profil
   *[other] { $count } Profile
}
setup-companies = { $count ->
    [one] 1 Firma
   *[other] { $count } Firmen
}
setup-recipient = Empfänger der Geheimnisse
setup-webhook-key = Schlüssel der Webhooks
setup-clouds = Microsoft-Clouds
setup-no-clouds = Kein Profil benutzt Microsoft Graph.
setup-custom = eigene Rechner oder Sandbox
setup-servers = Mailserver
setup-no-servers = Kein Profil benutzt einen Mailserver.

overview-title = Übersicht
overview-profiles = { $count ->
    [one] Profil
   *[other] Profile
}
overview-suspended = ausgesetzt
overview-failing = mit Fehlern geprüft
overview-drift = außerhalb von Git geändert
overview-holds = Angehalten
overview-ending = Zugangsdaten, die bald enden
overview-attention = Zu tun
overview-nothing = Alle Profile können senden.
overview-since = seit
overview-until = bis
overview-next-probe = nächster Versuch
overview-secret-refused = das nächste Geheimnis wurde abgelehnt
overview-errors = { $count ->
    [one] 1 Fehler
   *[other] { $count } Fehler
}
overview-warnings = { $count ->
    [one] 1 Warnung
   *[other] { $count } Warnungen
}
overview-unreachable = der Server antwortet nicht
overview-messages = Nachrichten
overview-waiting = Wartende Mail
overview-reason = Grund
overview-profile = Profil
overview-count = Nachrichten
overview-oldest = Älteste
overview-no-holds = Nichts ist angehalten.
overview-no-ending = Keine Zugangsdaten enden in den nächsten 45 Tagen, soweit die letzte Prüfung sah.
overview-ends = endet
overview-ended = endete
overview-not-writable = Der Speicher kann nicht beschrieben werden. Bis dahin wird keine Mail angenommen oder gesendet.
overview-restored = Der Speicher wurde aus einer Sicherung wiederhergestellt. Bis das bestätigt ist, wird keine Mail angenommen.
overview-restored-remedy = Prüfen Sie die Nachrichten mit dem Status unbekannt, und führen Sie dann aus:
status-queued = in der Warteschlange
status-sending = wird gesendet
status-delivered = zugestellt
status-failed = fehlgeschlagen
status-unknown = unbekannt
status-cancelled = abgebrochen
waiting-suspended = Profil ausgesetzt
waiting-no-sender = kein Profil
waiting-held = angehalten
waiting-server-away = Server nicht erreichbar
waiting-throttled = gedrosselt
waiting-scheduled = geplant

profiles-title = Profile
profiles-search = Name, Beschreibung oder Absender
profiles-function = Funktion
profiles-functions = Funktionen
profiles-company = Firma
profiles-companies = Firmen
profiles-state = Zustand
profiles-drift = Außerhalb von Git geändert
profiles-matching = { $count ->
    [one] 1 Profil passt.
   *[other] { $count } Profile passen.
}
profiles-none = Es gibt noch keine Profile.
profiles-no-match = Kein Profil passt zum Filter.
profiles-never = nie
profiles-column-name = Name
profiles-column-provider = Anbieter
profiles-column-state = Zustand
profiles-column-verified = Geprüft
profiles-column-changed = Geändert
provider-smtp = SMTP
provider-microsoft-graph-direct = Microsoft Graph, Anwendung
provider-microsoft-graph-delegate = Microsoft Graph, Benutzer
state-suspended = ausgesetzt
state-unreachable = nicht erreichbar
state-failing = mit Fehlern
state-removed = entfernt
state-paused = pausiert
state-disabled = abgeschaltet
state-unverified = nicht geprüft
state-ready = bereit
drift-unmanaged = nicht in Git
drift-restored = wiederhergestellt
drift-changed = geändert
drift-removed = entfernt
drift-help-unmanaged = Dieses Profil wurde nie aus Dateien angewandt: Es entstand außerhalb von Git.
drift-help-restored = Nach dem letzten Anwenden gab es dieses Profil nicht; ein Zurücksetzen hat es wiederhergestellt.
drift-help-changed = Das Profil weicht vom zuletzt Angewandten ab. Es wurde außerhalb von Git geändert.
drift-help-removed = Das Profil wurde außerhalb von Git entfernt. Dies sind seine zuletzt angewandten Einstellungen.

profile-settings = Einstellungen
profile-settings-applied = Zuletzt angewandte Einstellungen
profile-provider = Anbieter
profile-server = Server
profile-encryption = Verschlüsselung
profile-username = Benutzername
profile-password = Passwort (Geheimnis)
profile-client-secret = Clientgeheimnis (Geheimnis)
profile-certificate = Zertifikat (Geheimnis)
profile-token-file = Datei mit Verbundtoken
profile-cloud = Cloud
profile-tenant = Mandant
profile-client = Anwendungs-ID (Client)
profile-platform = Plattform
profile-redirect = Umleitungs-URI
profile-address-book = Adressbuch
profile-from = Absender
profile-from-name = Name des Absenders
profile-dkim = DKIM-Selektor
profile-enabled = Eingeschaltet
profile-limits = Grenzen
profile-limit-minute = Nachrichten je Minute
profile-limit-concurrency = Nachrichten gleichzeitig
profile-limit-day = Empfänger je Tag
profile-limit-size = Größe einer Nachricht, MiB
profile-serves = Funktionen
profile-system-wide = systemweit
profile-system-wide-help = Systemweit: jede Firma ohne eigenes Profil für die Funktion.
profile-change = Letzte Änderung
profile-changed-at = Zeit
profile-changed-by = Von
profile-changed-how = Wie
profile-commit = Commit
profile-dirty = mit nicht eingecheckten Änderungen
profile-branch = Branch
profile-author = Autor
profile-signature = Signatur
profile-approvals = Freigaben
profile-credentials = Zugangsdaten
profile-no-credentials = Keine Zugangsdaten mit einem Ende sind bekannt, und kein Geheimnis wird gewechselt.
profile-credential = Die Zugangsdaten
profile-next = nächster Wert
profile-verified = Prüfung
profile-level = Stufe
profile-passed = { $count ->
    [one] 1 Prüfung bestanden
   *[other] { $count } Prüfungen bestanden
}
profile-outdated = vor der letzten Änderung
profile-seen = Gefunden
profile-expected = Erwartet
profile-other-findings = Bestanden und ausgenommen
profile-waived = ausgenommen
profile-not-verified = Das Profil wurde nicht geprüft. Prüfen Sie es:
profile-suspended = Ausgesetzt: Seine Mail wartet, bis die Ursache behoben ist.
profile-unreachable = Der Server antwortet nicht. Die Mail wartet und wird wieder versucht.
profile-paused = Der Server bat zu warten bis
profile-held = Angehalten:
change-apply = aus Dateien angewandt
change-manual = von Hand
change-rollback = zurückgesetzt
encryption-starttls = STARTTLS
encryption-tls = TLS
encryption-none = keine
platform-native = Desktop-Client
platform-spa = Web-Client
rotation-staged = nächster Wert wartet
rotation-refused = nächster Wert abgelehnt
rotation-promoted = nächster Wert in Gebrauch
level-offline = nur Einstellungen
level-anonymous = ohne Anmeldung
level-credential = mit den Zugangsdaten
level-reader = mit dem Verzeichnisleser
level-probe = mit einer Testmail
verdict-fail = nicht bestanden
verdict-unknown = unbekannt
verdict-pass = bestanden
severity-error = Fehler
severity-warning = Warnung
severity-info = Hinweis
signature-good = gültig
signature-unknown-key = unbekannter Schlüssel
signature-expired = abgelaufen
signature-revoked = widerrufen
signature-bad = ungültig
signature-unchecked = nicht geprüft
signature-none = keine

function-default = Standard
covers-default = Jede Funktion, die kein Profil beansprucht
function-system-administration = Systemverwaltung
covers-system-administration = Wiederherstellung von Passwörtern, Mehrfaktor-Anmeldung, OData-Anmeldung und ähnliche Verwaltungsmail
function-user-interface = Benutzeroberfläche
covers-user-interface = Mail aus der Oberfläche: Kontextmenüs, Hyperlinks, Exporte aus Tabellen und Diagrammen, Konfigurationsdateien
function-electronic-signatures = Elektronische Unterschriften
covers-electronic-signatures = Mail, die eine elektronische Unterschrift auslöst
function-all-reports = Alle Berichte
covers-all-reports = Programme, die Berichte erzeugen und ansehen
function-document-flow-manager = Document Flow Manager
covers-document-flow-manager = Alle Mail des Document Flow Managers
function-all-documents = Alle Belege
covers-all-documents = Jeder Beleg, den kein Profil weiter unten beansprucht (Kontoauszüge, Angebote, Rechnungen, ...)
function-documents-remittance = Zahlungsavise
covers-documents-remittance = Avise der Kreditoren: Scheck, Überweisung, Kassenbuch
function-documents-accounts-receivable = Belege der Debitoren
covers-documents-accounts-receivable = Kontoauszüge, Mahnungen, Rabattgutschriften, Dauerbuchungen, Rechnungen
function-document-quotations = Angebote
covers-document-quotations = Angebote: mehrspaltig, mehrzeilig, einzeln
function-document-inventory-movements = Lagerbewegungen
covers-document-inventory-movements = Entnahmen, Wareneingänge, Lagerzugänge, Umlagerungen, Rücksendungen
function-document-purchasing = Einkaufsbelege
covers-document-purchasing = Rahmenverträge, Bestellungen (Ausland und Inland)
function-document-quality = Qualitätsbelege
covers-document-quality = Prüfungen zu Bestellungen: Rückweisungen, Ausschuss, Werksunterlagen, Prüfung und Ausschuss in der Fertigung
