# Texte der Konsole auf Deutsch. Die Schlüssel sind die der englischen Datei.
layout-skip = Zum Inhalt
layout-environment = Umgebung
layout-demo = Demo
layout-demo-why = Der Schlüssel dieses Dienstes ist öffentlich
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
list-newest = Neueste
list-older = Ältere
filter-all = Alle
filter-apply = Filtern
filter-reset = Zurücksetzen
answer-yes = Ja
answer-no = Nein

error-title = Das hat nicht geklappt
error-overview = Zur Übersicht
error-back = Zurück
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
sign-in-with = Mit { $provider } anmelden
sign-in-with-token = Mit einem Token
sign-in-token = Token
sign-in-help = Ein Token des Dienstes, mindestens mit der Rolle viewer. Eine Administratorin oder ein Administrator legt ihn an:
sign-in-button = Mit dem Token anmelden
sign-in-passkey = Mit einem Passkey anmelden
sign-in-passkey-here = Passkeys gehen unter dieser Adresse desselben Rechners:
sign-in-passkey-unset = Um sich mit einem Passkey anzumelden, muss der Dienst die Adresse seiner Konsole kennen:

sessions-title = Sitzungen
sessions-lead-own = Ihre Anmeldungen. Eine Sitzung endet nach 30 Minuten ohne Nutzung, nach 12 Stunden oder mit ihrem Token oder Passkey.
sessions-lead-all = Alle Anmeldungen an der Konsole. Eine Sitzung endet nach 30 Minuten ohne Nutzung, nach 12 Stunden oder mit ihrem Token oder Passkey.
sessions-name = Name
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
setup-confirm = Version, Generation und Rechner werden angezeigt, wenn Sie Ihre Identität bestätigt haben.
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
overview-settings-drift = Die Einstellungen wurden außerhalb von Git geändert:
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
status-awaiting-sender = wartet auf den Absender
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

outbox-title = Postausgang
outbox-search = Betreff, Empfänger, Beleg oder Kennung
outbox-status = Status
outbox-profile = Profil
outbox-company = Firma
outbox-function = Funktion
outbox-reason = Wartet, weil
outbox-since = Angenommen ab (UTC)
outbox-until = Angenommen vor (UTC)
outbox-invalid = Nichts kann zutreffen: Das Feld „{ $field }“ hat einen Wert in falscher Form.
outbox-explanation = Erklärung
outbox-oldest = Älteste
outbox-next = Nächster Versuch
outbox-needs-operator = braucht einen Eingriff
outbox-bulk = Alle zutreffenden Nachrichten
outbox-bulk-next = Weiter
outbox-none = Es wurde noch keine E-Mail angenommen.
outbox-no-match = Keine Nachricht passt zum Filter.
outbox-message = Nachricht
outbox-recipient = Empfänger
outbox-accepted = Angenommen
outbox-no-subject = (kein Betreff)
outbox-attempts = { $count ->
    [one] 1 Versuch
   *[other] { $count } Versuche
}

message-waits = Wartet:
message-last-reply = Letzte Antwort:
message-possible-duplicate = vielleicht zweimal gesendet
message-sent-again = auf Anforderung erneut gesendet
message-done-retry = Die Nachricht ist jetzt fällig.
message-done-cancel = Die Nachricht wird nicht gesendet.
message-done-replay = Die Nachricht ist wieder in der Warteschlange.
message-done-resolve = Das Ergebnis ist vermerkt.
message-done-test = Die Testnachricht ist angenommen. Diese Seite zeigt, wie sie gesendet wird und was der Server antwortet.
message-reload = Seite neu laden, um zu sehen, ob sie gesendet wurde
message-id = Kennung
message-message-id = Message-ID
message-sender = Gesendet von
message-document = Beleg
message-size = Größe
message-bytes = { $count } Byte
message-by = von
message-requeued = Erneut eingereiht
message-finished = Beendet
message-last = Letztes Ergebnis
message-chosen = Profil, und warum
message-actions = Aktionen
message-retry = Jetzt senden
message-retry-help = Wartet weder auf den nächsten Versuch noch auf die nächste Probe eines ausgesetzten Profils.
message-cancel = Abbrechen
message-cancel-help = Die Nachricht wird nicht gesendet. Wenn ein früherer Versuch sie gesendet haben kann, ist ihr Ergebnis unbekannt.
message-resolve = Ergebnis festlegen
message-resolve-help = Der Server hat die Nachricht vielleicht angenommen. Sehen Sie in seinem Protokoll nach, oder fragen Sie einen Empfänger.
message-resolve-delivered = Die Empfänger haben sie
message-resolve-failed = Die Empfänger haben sie nicht
message-resolve-reason = Woher das bekannt ist
message-resolve-button = Ergebnis vermerken
message-replay = Erneut senden
message-replay-help = Geht an die Empfänger, die sie nicht bekommen haben. Ist das Ergebnis unbekannt, kann ein Empfänger sie zweimal bekommen.
message-replay-sent = Diese Nachricht wurde zugestellt oder abgebrochen. Sie wird nur an alle Empfänger erneut gesendet.
message-replay-again = Auch an Empfänger, die sie haben: Sie bekommen sie zweimal
message-replay-button = Erneut senden
message-recipients = Empfänger
message-reply = Antwort
message-attempts = Versuche
message-no-attempts = Es gab keinen Versuch.
message-attempt = Versuch { $number }
message-server = Server
message-phase = Phase
message-took = { $count } ms
message-more-attempts = { $count ->
    [one] 1 früherer Versuch
   *[other] { $count } frühere Versuche
}
step-none = keines
step-disabled = ausgeschaltet
step-other-client = für einen anderen Client
step-name-comes-later = steht nach Namen später
recipient-waiting = wartet
recipient-delivered = zugestellt
recipient-failed = gescheitert
recipient-unknown = unbekannt
class-delivered = angenommen
class-transient = vorläufig abgelehnt
class-throttled = gedrosselt
class-auth = Profil abgelehnt
class-size = zu groß
class-permanent = abgelehnt
class-unknown = Ergebnis unbekannt

bulk-action-retry = Jetzt senden
bulk-action-cancel = Abbrechen
bulk-action-replay = Erneut senden
bulk-action-replay-all = Erneut an alle Empfänger senden
bulk-action-resolve-delivered = Ergebnis festlegen: zugestellt
bulk-action-resolve-failed = Ergebnis festlegen: gescheitert
bulk-help-retry = Die Nachrichten warten nicht auf ihren nächsten Versuch. Grenzen der Postfächer gelten weiter, und angehaltene Mail wartet weiter.
bulk-help-cancel = Die Nachrichten werden nicht gesendet. Wo ein früherer Versuch eine gesendet haben kann, ist ihr Ergebnis unbekannt.
bulk-help-replay = Die Nachrichten gehen an die Empfänger, die sie nicht bekommen haben. Ist das Ergebnis unbekannt, kann ein Empfänger eine zweimal bekommen.
bulk-help-replay-all = Die Nachrichten werden erneut an alle Empfänger gesendet, auch an die, die sie haben.
bulk-help-resolve-delivered = Vermerkt, dass die Empfänger die Nachrichten haben.
bulk-help-resolve-failed = Vermerkt, dass die Empfänger die Nachrichten nicht haben.
bulk-count = { $count ->
    [one] 1 Nachricht trifft zu.
   *[other] Alle { $count } zutreffenden Nachrichten.
}
bulk-count-more = Mehr als { $count } Nachrichten treffen zu.
bulk-at-once = { $count } Nachrichten werden auf einmal geändert, die neuesten zuerst. Die Ergebnisseite führt zu den übrigen.
bulk-button = { $count ->
    [one] Für 1 Nachricht bestätigen
   *[other] Für { $count } Nachrichten bestätigen
}
bulk-button-first = Für die ersten { $count } Nachrichten bestätigen
bulk-examples = Die neuesten davon
bulk-changed = { $count ->
    [0] Keine Nachricht wurde geändert.
    [one] 1 Nachricht wurde geändert.
   *[other] { $count } Nachrichten wurden geändert.
}
bulk-refused = Nicht geändert
bulk-refused-count = { $count ->
    [one] 1 Nachricht:
   *[other] { $count } Nachrichten, die erste:
}
bulk-continue = Mit den übrigen Nachrichten fortfahren
bulk-audit = Eintrag { $number } des Prüfprotokolls

holds-title = Angehalten
holds-lead = Angehaltene Mail wartet, bis sie freigegeben wird oder die Frist endet. Die Zeit, in der ihre Versuche wiederholt werden, läuft solange nicht.
holds-reason = Grund
holds-owner = Von
holds-since = Seit
holds-until = Bis
holds-until-utc = Bis (UTC)
holds-every = alle
holds-no-end = bis zur Freigabe
holds-release = Freigeben
holds-release-one = Freigeben: { $reason }
holds-new = Mail anhalten
holds-new-help = Profil, Firma oder Funktion ist nötig; ein leeres Feld umfasst alles. Mail muss zu allen Feldern passen.
holds-create = Anhalten

coverage-title = Abdeckung
coverage-lead = Das Profil, das für jede Firma und Funktion sendet. Eine Zelle zeigt, warum.
coverage-only-gaps = Nur Firmen mit Lücken
coverage-matching = { $count ->
    [one] 1 Firma
   *[other] { $count } Firmen
}
coverage-gaps = { $count ->
    [one] 1 Funktion ohne Profil
   *[other] { $count } Funktionen ohne Profil
}
coverage-none = Die Umgebung hat keine Firmen.
coverage-no-match = Keine Firma passt zum Filter.
coverage-companies = Firmen
coverage-no-sender = keines
coverage-unserved = keines, wie gewollt
coverage-help = Firmen mit gleichen Zeilen stehen zusammen. Ein graues Profil bedient die Funktion als Rückfall.
coverage-hidden = Ihre Rechte schließen diese Funktion nicht ein.
cell-sends = E-Mail sendet
cell-no-sender = Kein Profil sendet. E-Mail wird abgelehnt.
cell-no-sender-remedy = Nehmen Sie Firma und Funktion in ein Profil auf, oder schalten Sie eines ein, das beide hat.
cell-steps = Schritte
cell-rule = Zuerst gilt die Funktion, dann ihre Rückfälle. In jedem Schritt hat ein Profil, das die Firma nennt, Vorrang vor einem systemweiten.

audit-title = Prüfprotokoll
audit-search = Text in Einzelheiten
audit-actor = Von
audit-action = Aktion
audit-outcome = Ergebnis
audit-since = Ab (UTC)
audit-until = Vor (UTC)
audit-verify = Prüfen
audit-verify-help = Berechnet die Kette der Prüfsummen neu und vergleicht den Speicher damit. Das kann dauern.
audit-export = Ausgeben, was der Filter findet:
audit-none = Kein Eintrag passt zum Filter.
audit-number = Nummer
audit-at = Zeit
audit-detail = Einzelheiten
audit-check-title = Prüfung des Protokolls
audit-check-intact = { $count ->
    [one] Die Kette mit 1 Eintrag ist unversehrt, und der Speicher stimmt mit ihr überein.
   *[other] Die Kette mit { $count } Einträgen ist unversehrt, und der Speicher stimmt mit ihr überein.
}
audit-check-differs = Der Speicher wurde von etwas anderem als dem Dienst geändert.
audit-check-altered = Eine solche Änderung fiel früher auf, vor den Einträgen:
audit-check-head = Neueste Prüfsumme
audit-check-help = Bewahren Sie die neueste Prüfsumme an einem anderen Ort auf. Nur so fällt ein Protokoll auf, das ganz neu geschrieben wurde.
outcome-accepted = angenommen
outcome-refused = abgelehnt

tokens-title = Token
tokens-lead = Programme und Personen mit Zugang zum Dienst. Ein Token wird einmal gezeigt, wenn es angelegt wird:
tokens-name = Name
tokens-state = Zustand
tokens-role = Rolle
tokens-limits = Beschränkt auf
tokens-created = Angelegt
tokens-ends = Endet
tokens-no-end = nie
tokens-revoke = Widerrufen
tokens-revoke-one = Token { $name } widerrufen
token-active = gültig
token-suspended = ausgesetzt
token-expired = abgelaufen
token-revoked = widerrufen

history-title = Verlauf
history-lead = Der Dienst ist bei Generation { $number }. Jede angenommene Änderung macht die nächste.
history-from = Frühere Generation
history-to = Spätere Generation
history-compare = Vergleichen
history-none = Seit der Speicher angelegt wurde, hat sich nichts geändert.
history-at = Zeit
history-by = Von
history-how = Wie
history-source = Herkunft
history-what = Änderungen
history-approved-by = freigegeben von
history-break-glass = ohne Freigaben
signing-meaning-reviewed = hat geprüft
signing-meaning-approved = hat freigegeben
signing-meaning-authored = ist Verfasser
signing-method-passkey = mit einem Passkey
signing-method-ssh = mit einem SSH-Schlüssel
signing-method-identity-provider = mit dem Identitätsanbieter
signature-recent-passkey = neuer Passkey
history-back-to = auf { $number }
history-settings = Einstellungen
history-roll-back = Zurückgehen
history-roll-back-to = Zurück auf { $number }
history-added = { $count } neu
history-changed = { $count } geändert
history-destroyed = { $count } entfernt
history-renamed = { $count } umbenannt
history-adopted = { $count } übernommen
history-forgotten = { $count } vergessen
history-diff-title = Änderungen von Generation { $from } bis { $to }
history-equal = Nichts ist verschieden.
history-field = Feld
history-before = Vorher
history-after = Nachher
history-absent = keines
history-more-fields = { $count ->
    [one] 1 weiteres Feld
   *[other] { $count } weitere Felder
}
difference-added = neu
difference-changed = geändert
difference-removed = entfernt

rollback-title = Zurück auf Generation { $number }
rollback-lead = Profile, Einstellungen und Geheimnisse werden als neue Generation wiederhergestellt. Bis die Dateien in Git gleich sind, gilt das als Abweichung. Jetzt: Generation { $number }.
rollback-refused = Das Zurückgehen ist nicht möglich.
rollback-approvals = Das Zurückgehen braucht Freigaben:
rollback-approvals-remedy = Speichern Sie es, lassen Sie es freigeben, und wenden Sie es an:
rollback-warnings = Warnungen
rollback-guards = Schwere Folgen
rollback-allow = Das ist beabsichtigt
rollback-button = Zurück auf { $number }
rollback-back = Abbrechen

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
profile-differences = Unterschiede zum zuletzt Angewandten
profile-field = Feld
profile-applied-value = Zuletzt angewandt
profile-live-value = Jetzt
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
profile-origins = Woher jeder Wert kommt
profile-origins-help = Die Änderung, die jedem Feld seinen jetzigen Wert gab. Mit den Dateien zur Hand nennt dies die Zeile:
profile-origin-older = älter als die letzten 200 Änderungen des Profils
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
profile-outdated = andere Einstellungen als die geltenden
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

profiles-new = Neues Profil

profile-edit = Ändern
profile-enable = Einschalten
profile-disable = Ausschalten
profile-delete = Löschen
profile-patch = Dateien für Git, als Patch
profile-patch-help = Danach ist der Plan leer, wenn die Dateien keine anderen Änderungen haben:
patch-help = Speichern Sie den Patch im Repository der Dateien. Dieser Befehl ändert die Dateien in der Form, die sie haben, und macht keinen Commit:
patch-help-git = git am { $name }.patch macht für dieselbe Änderung einen Commit, aber nur, wenn die Dateien die Form haben, in der Mailwright sie schreibt. Beide brauchen die geänderten Felder so, wie die letzte Anwendung sie hinterlassen hat.

form-title-new = Neues Profil
form-title-edit = { $name } ändern
form-proposal-only = Änderungen werden in dieser Umgebung vorgeschlagen. Eine andere Person wendet sie an, oder unterschreibt sie, wo Unterschriften verlangt sind.
form-conflict = Dieses Profil wurde geändert, seit Sie es geöffnet haben:
form-conflict-deleted = Dieses Profil wurde gelöscht, seit Sie es geöffnet haben:
form-conflict-help = Das Formular enthält Ihre Eingaben. Vergleichen Sie sie mit den Änderungen oben; Ihr nächster Plan ersetzt diese.
form-problems = { $count ->
    [one] 1 Problem
   *[other] { $count } Probleme
}
form-problem-number = Geben Sie eine ganze Zahl von { $least } bis { $most } ein.
form-problem-choice = Wählen Sie eines davon.
form-continue = Weiter
form-change-provider = Anderer Anbieter
form-change-provider-help = Beginnt neu mit den Feldern dieses Anbieters.
form-provider-smtp = Ein Mailserver: sein Host, und Benutzername und Passwort, eine Anwendung in Entra, oder keine Anmeldung.
form-provider-microsoft-graph-direct = Microsoft 365. Die in Entra registrierte Anwendung sendet als ein Postfach, ohne Benutzer.
form-provider-microsoft-graph-delegate = Microsoft 365. Wer im ERP angemeldet ist, sendet als er selbst; nur Benutzeroberfläche.
form-section-general = Profil
form-section-connection = Verbindung
form-section-sender = Absender
form-section-limits = Grenzen
form-name = Name
form-help-name = Buchstaben, Ziffern, Punkt, Unterstrich und Bindestrich. So heißt auch die Datei; später lässt sich der Name hier nicht ändern.
form-description = Beschreibung
form-help-description = Wozu das Profil dient; bis zu 100 Zeichen.
form-host = Host
form-help-host = Name oder Adresse des Mailservers, ohne Port.
form-port = Port
form-help-port = 587 mit STARTTLS, 465 mit TLS. Leer: der übliche.
form-encryption = Verschlüsselung
form-help-encryption = Sie wird nie abgeschwächt. Ohne Verschlüsselung werden Passwörter nur an diesen Rechner gesendet.
form-login = Anmeldung
form-username = Benutzername
form-help-username = Bei der Anwendung: das Postfach, das sendet.
form-cloud = Cloud
form-help-cloud = Die Cloud des Mandanten.
form-sign-in = Host der Anmeldung
form-help-sign-in = https:// und der Host, ohne Pfad. Geheimnisse werden dorthin gesendet.
form-graph = Host von Graph
form-help-graph = https:// und der Host, ohne Pfad.
form-tenant = Mandant
form-help-tenant = Die Verzeichnis-ID (Mandant) oder eine seiner Domänen.
form-client = Anwendungs-ID (Client)
form-help-client = Aus der Übersicht der Registrierung.
form-credential = Zugangsdaten
form-token-file = Datei mit Verbundtoken
form-help-token-file = Der ganze Pfad auf dem Rechner des Dienstes, der mit dieser Datei gestartet sein muss.
form-platform = Plattform
form-help-platform = Der Client, in dem gearbeitet wird.
form-redirect = Umleitungs-URI
form-help-redirect = https://localhost für den Desktop-Client, sonst die Adresse des Web-Clients.
form-address-book = Adressbuch
form-help-address-book = Empfänger werden im Adressbuch nachgeschlagen.
form-from-address = Adresse
form-help-from-address = Die Adresse, von der Mail kommt. Ein Profil eines Benutzers braucht keine.
form-from-name = Anzeigename
form-help-from-name = Wird neben der Adresse gezeigt; kann leer sein.
form-from-dkim = DKIM-Selektor
form-help-from-dkim = Wo die Domäne ihren Schlüssel veröffentlicht; nur für die Prüfung.
form-preset = Voreinstellung
form-help-preset = Füllt die leeren Grenzen.
form-per-minute = Nachrichten je Minute
form-help-per-minute = Leer: wie voreingestellt.
form-concurrency = Nachrichten gleichzeitig
form-help-concurrency = Leer: wie voreingestellt.
form-recipients-per-day = Empfänger je Tag
form-help-recipients-per-day = Leer: wie voreingestellt.
form-message-size = Größe einer Nachricht, Bytes
form-help-message-size = Leer: wie voreingestellt.
form-secret = Name des Geheimnisses
form-help-secret = NAME/SCHLÜSSEL, der Pfad der Datei in Git. Leer: Name des Profils und Art.
form-login-none = ohne Anmeldung
form-login-password = Benutzername und Passwort
form-login-oauth = Anwendung in Entra (XOAUTH2)
form-cloud-global = weltweit
form-cloud-us-government-l4 = US Government L4 (GCC High)
form-cloud-us-government-l5 = US Government L5 (DoD)
form-cloud-china = China (21Vianet)
form-cloud-custom = andere Hosts
form-credential-client-secret = Clientgeheimnis
form-credential-certificate = Zertifikat
form-credential-federated = Datei mit Verbundtoken
form-preset-usual = nach dem Host
form-preset-own = eigener Mailserver
form-preset-exchange-online-smtp = Exchange Online über SMTP
form-preset-microsoft-graph = Microsoft Graph
form-value-password = Passwort
form-value-client-secret = Clientgeheimnis
form-value-certificate = Zertifikat mit privatem Schlüssel (PEM)
form-value-help = Der Wert wird in diesem Browser verschlüsselt und nie wieder angezeigt.
form-sealed-for = Der Wert lässt sich mit den Schlüsseln dieser Empfänger lesen, und mit keinen anderen:
form-sealed-service = dieser Dienst
form-sealed-left-out = Er wird nicht für diese Empfänger verschlüsselt, weil ihre Schlüssel eine Erweiterung von age brauchen, die ein Browser nicht hat:
form-sealed-rekey = Wenn der Patch in Git ist, macht ein anderer Betreiber ihn für sie lesbar:
form-sealed-set = Kein Betreiber kann ihn lesen. Setzen Sie den Wert stattdessen auf der Befehlszeile:
form-sealed-unknown = Der Dienst kennt die Betreiber dieser Umgebung noch nicht, und keiner von ihnen kann den Wert lesen. Wenden Sie zuerst die Dateien an; sie haben secrets/…/recipients.txt:
form-value-sealed = Ein Wert ist verschlüsselt; lassen Sie das Feld leer, um ihn zu behalten.
form-secret-kept = Der Dienst hat einen Wert. Lassen Sie das Feld für den Wert leer, um ihn zu behalten.
form-no-script = Geheimnisse werden im Browser verschlüsselt; das braucht JavaScript. Setzen Sie den Wert sonst auf der Befehlszeile:
form-enabled-help = Ein ausgeschaltetes Profil wird nie gewählt, als gäbe es das Profil nicht.
form-only-companies = Nur diese Firmen:
form-no-companies = Die Umgebung hat keine Firmen.
form-more-companies = { $count ->
    [one] 1 weitere Firma ist nicht aufgeführt. Die Dateien in Git können sie nennen.
   *[other] { $count } weitere Firmen sind nicht aufgeführt. Die Dateien in Git können sie nennen.
}
form-delegate-functions = Hier meldet sich ein Mensch an und sendet; daher bedient dieser Anbieter nur User Interface.
form-served-by = Jetzt beansprucht von { $profiles }
form-falls-back = Jetzt nicht beansprucht; fällt zurück auf { $function }
form-served-by-none = Jetzt nicht beansprucht
form-plan = Plan zeigen
form-plan-help = Noch wird nichts geändert.
form-cancel = Abbrechen

plan-title = Plan für { $name }
plan-action-create = anlegen
plan-action-update = ändern
plan-action-delete = löschen
plan-action-rename = umbenennen
plan-action-adopt = übernehmen
plan-action-forget = vergessen
plan-conflict-help = Der Plan unten geht von dem aus, was jetzt gilt. Wenden Sie ihn nur an, wenn Sie ihn weiterhin wollen.
plan-lead = Was geschehen würde, berechnet aus Generation { $generation }. Noch wird nichts geändert.
plan-empty = Nichts würde sich ändern.
plan-refused = Der Plan wurde nicht angewandt.
plan-fields = Felder
plan-field = Feld
plan-before = Jetzt
plan-after = Dann
plan-unchanged = { $count ->
    [one] 1 Feld bleibt, wie es ist.
   *[other] { $count } Felder bleiben, wie sie sind.
}
plan-coverage = Absender, die sich ändern
plan-coverage-same = Für jede Firma und Funktion sendet dasselbe Profil wie bisher.
plan-no-sender = kein Absender
plan-signed-in-user = die angemeldete Person
plan-guards = Sperren
plan-guards-help = Die Änderung wird nur angewandt, wenn Sie jeden dieser Punkte bestätigen.
plan-verification = Prüfung
plan-not-verified = Es gibt nichts zu prüfen: Kein eingeschaltetes Profil wird gesetzt.
plan-accept-unverified = Ohne Prüfung anwenden; der Grund unten ist nötig
plan-accept-findings = Trotz dieser Fehler anwenden; der Grund unten ist nötig
plan-accept-findings-of = { $name } trotz seiner Fehler anwenden; der Grund unten ist nötig
plan-more-failing = { $count ->
    [one] Ein weiteres Profil hat Fehler und kann hier nicht angenommen werden. Wenden Sie die Dateien auf der Befehlszeile an.
   *[other] { $count } weitere Profile haben Fehler und können hier nicht angenommen werden. Wenden Sie die Dateien auf der Befehlszeile an.
}
plan-verified-others = { $count ->
    [one] Ein weiteres Profil wurde geprüft.
   *[other] { $count } weitere Profile wurden geprüft.
}
plan-digest = Digest
plan-approvals-help = Diese Umgebung verlangt Unterschriften für die Änderung. Schlagen Sie sie vor, und lassen Sie den Vorschlag unterschreiben; oder übernehmen Sie die Dateien in Git, und lassen Sie den Plan der Befehlszeile freigeben.
plan-drift = Abweichung von Git
plan-drift-help = Eine Änderung in der Konsole ist nicht in Git. Sie gilt als Abweichung, bis Git sie hat.
plan-decide = Entscheiden
plan-reason = Grund, für das Auditprotokoll; nötig, um Befunde anzunehmen
plan-apply = Anwenden
plan-patch = Dateien für Git, als Patch
plan-sealing-rekey = Nicht jeder Betreiber kann den neuen Wert lesen. Wenn der Patch in Git ist, führt ein Betreiber, der ihn lesen kann, dies aus:
plan-sealing-set = Kein Betreiber kann den neuen Wert lesen, nur dieser Dienst. Setzen Sie ihn auf der Befehlszeile, wenn der Patch in Git ist:
plan-back = Zurück zum Formular
plan-patch-help = Der Patch ändert Dateien, nicht den Dienst: Wird die Änderung hier nicht angewendet, enthält sie der nächste Plan der Dateien.
proposal-patch = Dateien für Git

secret-change-new = neues Geheimnis
secret-change-rotated = Wert geändert
secret-change-resealed = neu verschlüsselt, selber Wert
secret-change-file-changed = Datei geändert
secret-change-renamed = selbes Geheimnis, anderer Name
secret-change-removed = Geheimnis entfernt
secret-change-rotation-finished = Wechsel beendet
secret-change-next-staged = nächster Wert
secret-change-next-replaced = anderer nächster Wert
secret-change-next-resealed = nächster Wert neu verschlüsselt
secret-change-next-withdrawn = nächster Wert zurückgezogen

seal-insecure = Geheimnisse werden im Browser verschlüsselt; das geht nur an einer https-Adresse oder auf dem Rechner des Dienstes.
seal-recipient = Ein Empfänger dieser Umgebung lässt sich im Browser nicht verwenden. Setzen Sie den Wert auf der Befehlszeile.
seal-mixed = Die Empfänger dieser Umgebung lassen sich nicht in einer Datei vereinen. Setzen Sie den Wert auf der Befehlszeile.
seal-library = Das Skript zum Verschlüsseln wurde nicht geladen. Laden Sie die Seite neu.
seal-failed = Der Wert ließ sich nicht verschlüsseln. Laden Sie die Seite neu.
seal-destination = Füllen Sie zuerst aus, wohin das Geheimnis gesendet wird: Host und Verschlüsselung, oder Mandant und Client.
seal-empty = Der Wert ist leer.
seal-too-long = Der Wert hat mehr als 16 KiB.
seal-utf-16 = Die Datei ist UTF-16. Speichern Sie sie als UTF-8.
seal-keystore = Dies ist ein Java-Schlüsselspeicher. Exportieren Sie ihn als PEM.
seal-der = Dies ist eine PFX-Datei oder ein binäres Zertifikat (DER). Wandeln Sie es in PEM um.
seal-not-text = Dies ist kein Text.
seal-age-file = Dies ist schon verschlüsselt. Geben Sie den Wert selbst ein.
seal-merge-markers = Die Datei hat Merge-Konflikte.
seal-pointer = Dies ist ein Verweis von Git LFS, nicht die Datei selbst.
seal-control = Es sind Steuerzeichen darin.
seal-blank = Der Wert besteht aus Leerzeichen.
seal-mark = Es ist eine Bytereihenfolge-Marke darin.
seal-encrypted = Der Wert ist von einem anderen Programm verschlüsselt.
seal-pem-in-base64 = Dies ist eine PEM-Datei in Base64. Dekodieren Sie sie zuerst.
seal-kubernetes = Dies ist ein Secret von Kubernetes. Nehmen Sie den dekodierten Wert daraus.
seal-web-key = Dies ist ein JSON Web Key. Wandeln Sie ihn in PEM um.
seal-base64 = Dies ist eine PFX- oder DER-Datei in Base64. Wandeln Sie sie in PEM um.
seal-masked = Dies ist eine Maske, nicht der Wert.
seal-private-key = Dies ist ein privater Schlüssel, kein Passwort.
seal-json = Dies ist ein JSON-Dokument. Nehmen Sie den Wert daraus.
seal-secret-id = Dies ist die ID des Geheimnisses. Kopieren Sie die Spalte mit dem Wert.
seal-line-breaks = Es sind Zeilenumbrüche darin.
seal-invisible-end = Es beginnt oder endet mit einem unsichtbaren Zeichen.
seal-blank-end = Es beginnt oder endet mit einem Leerzeichen.
seal-assignment = Dies ist eine Zuweisung. Geben Sie nur den Wert ein.
seal-no-certificate = Es ist kein Zertifikat darin.
seal-no-key = Es ist kein privater Schlüssel darin.
seal-encrypted-key = Der private Schlüssel hat eine Passphrase. Entfernen Sie sie zuerst.
seal-openssh-key = Der Schlüssel hat die Form von OpenSSH. Wandeln Sie ihn in PEM um.

plan-missing-right = Ihre Rechte reichen nicht, um diese Änderung anzuwenden. Sie können sie vorschlagen; eine Person mit diesen Rechten wendet sie an.
plan-host-unverified = Der Dienst hat den Host nicht angesprochen, denn über neue Hosts entscheiden nur Personen, die Änderungen anwenden dürfen. Schlagen Sie die Änderung vor: Wer sie anwendet, prüft sie dort.
plan-propose = Vorschlagen
proposals-title = Vorschläge
proposals-lead = Vorgeschlagene Änderungen, die eine andere Person unterschreibt, anwendet oder ablehnt.
proposals-none = Es gibt keine Vorschläge.
proposals-by = Vorgeschlagen von
proposal-title = Vorschlag für { $name }
proposal-profile = Profil { $name } öffnen
proposal-files = Plan der Dateien
proposal-settings-hidden = Der Plan ändert Einstellungen, die Sie nicht sehen dürfen.
proposal-status-open = offen
proposal-status-expired = abgelaufen
proposal-status-applied = angewandt
proposal-status-rejected = abgelehnt
proposal-ends = Unterschreiben und Anwenden ist möglich bis
proposal-expired = Die Zeit ist abgelaufen: Er kann nicht mehr unterschrieben und angewandt werden. Schlagen Sie die Änderung neu vor. Ende:
proposal-withdraw = Zurückziehen
proposal-conflict = Das Profil wurde seit Generation { $generation } geändert, aus der dies vorgeschlagen wurde. Der Vorschlag lässt sich nicht mehr anwenden.
proposal-other = Dies ist Ihr Vorschlag. Eine andere Person wendet ihn an, oder genehmigt ihn mit einem Passkey oder beim Identitätsanbieter, wo Unterschriften verlangt sind.
proposal-signed = Sie haben diesen Vorschlag unterschrieben, und die Unterschrift wird gebraucht. Eine andere Person wendet ihn an.
proposal-incomplete = Er kann angewandt werden, wenn alle Unterschriften da sind.
proposal-reason = Grund, um abzulehnen oder Befunde anzunehmen
proposal-verify = Jetzt prüfen
proposal-reject = Ablehnen
proposal-signatures = Unterschriften
proposal-missing = Es fehlt:
proposal-text = Zu unterschreibender Text
proposal-sign-help = Speichern Sie den Text unverändert als Datei, und unterschreiben Sie sie. Jede Änderung der Konfiguration macht frühere Unterschriften ungültig.
proposal-signature = Unterschrift (Inhalt von FILE.sig)
proposal-approve = Unterschrift hinzufügen
sign-title = Unterschreiben
sign-lead = Das unterschreiben Sie. Vergleichen Sie es mit dem Plan auf der Seite des Vorschlags.
sign-back = Vorschlag
sign-who = Unterzeichner
sign-meaning = Bedeutung
sign-reason = Grund
sign-reason-required = mit Grund
sign-environment = Umgebung
sign-action = Vorgang
sign-apply = Änderung auf Generation { $generation } anwenden
sign-digest = Prüfsumme der Änderung
sign-expires = Gilt bis
sign-text = Text, dessen Prüfsumme unterschrieben wird
sign-button = Mit einem Passkey unterschreiben
sign-provider = Mit { $provider } unterschreiben
sign-provider-lead = Ihr Identitätsanbieter fragt Sie nach Passwort oder Schlüssel und bestätigt, dass Sie diesen Text unterschreiben. Wenn Sie ihn nicht unterschreiben wollen, gehen Sie zurück.
sign-review = Weiter zur Unterschrift
sign-ssh-reason = Grund, der Teil des Textes ist
sign-ssh-text = Text mit diesem Grund anzeigen
sign-ssh = Mit einem SSH-Schlüssel unterschreiben
signing-wanted-reviewed = Ich habe sie geprüft
signing-wanted-approved = Ich gebe sie frei
signing-wanted-authored = Ich habe sie verfasst

passkey-unavailable = Dieser Browser hat für diese Adresse keine Passkeys. Sie brauchen https und einen Hostnamen, oder http://localhost.
passkey-cancelled = Das Gerät hat nicht geantwortet: Sie haben abgebrochen, die Zeit ist um, oder es hat keinen Passkey für diese Adresse.
passkey-registered = Dieses Gerät hat schon einen Passkey für Sie. Nehmen Sie ein anderes.
passkey-failed = Das Gerät hat keine brauchbare Antwort gegeben. Versuchen Sie es noch einmal, oder nehmen Sie ein anderes.
passkey-no-script = Passkeys brauchen JavaScript, das in diesem Browser ausgeschaltet ist. Ohne JavaScript melden Sie sich mit einem Token an.
passkey-label = Name des Passkeys
passkey-label-help = Zum Beispiel das Gerät, auf dem er liegt, damit Sie ihn später wiedererkennen.
passkey-label-default = Mein Gerät
passkey-added = Hinzugefügt
passkey-used = Zuletzt benutzt
passkey-synced = synchronisiert
passkey-now = diese Sitzung
passkey-link-by = mit einem Link von { $name }
passkey-remove = Entfernen
passkey-remove-one = Passkey { $name } entfernen

enroll-title = Passkey anlegen
enroll-lead = Sie haben einen Link bekommen, um sich an der Konsole von { $environment } anzumelden. Er gilt einmal.
enroll-code = Code des Links
enroll-code-help = Der Link trägt ihn ein. Sonst fügen Sie ein, was darin nach dem # steht.
enroll-continue = Weiter
enroll-name = Der Link ist für { $name }. Wenn Sie das nicht sind, schließen Sie diese Seite und sagen es der Person, die ihn Ihnen gegeben hat.
enroll-button = Passkey anlegen und anmelden
enroll-help = Ihr Gerät fragt nach Fingerabdruck, Gesicht oder PIN und behält einen Schlüssel für diese Seite. Nichts Geheimes wird gesendet. Diese Seite wartet fünf Minuten; danach öffnen Sie den Link noch einmal.

confirm-title = Identität bestätigen
confirm-lead = Was Sie tun wollten, braucht eine frische Bestätigung, dass Sie es sind.
confirm-token = Sie sind mit einem Token angemeldet. Er ist keine Person und kann keine Identität bestätigen. Melden Sie sich ab, und mit einem Passkey wieder an.
confirm-button = Mit einem Passkey bestätigen
confirm-provider = Beim Identitätsanbieter bestätigen
confirm-back = Zurück

account-title = Konto
account-kind-token = Sie sind mit einem Token angemeldet. Er hat die Rechte seiner Rolle und der Bindungen an seinen Namen.
account-kind-operator = Sie sind mit einem Passkey angemeldet. Sie haben die Rechte Ihrer Rolle und der Bindungen an Ihren Namen.
account-kind-identity = Sie sind über einen Identitätsanbieter angemeldet. Sie haben die Rechte, die dessen Gruppen und Rollen Ihnen geben.
account-passkeys = Passkeys
account-add = Weiterer Passkey
account-add-button = Passkey anlegen
account-confirm-first = Um einen Passkey hinzuzufügen oder zu entfernen, bestätigen Sie zuerst Ihre Identität:

operators-title = Personen
operators-lead = Menschen, die sich mit einem Passkey an dieser Konsole anmelden. Namen werden nie einer anderen Person gegeben.
operators-none = Es gibt noch keine Personen.
operators-name = Name
operators-name-help = access.yaml nennt ihn: operator: NAME. Er lässt sich nicht ändern.
operators-state = Zustand
operators-role = Rolle
operators-role-help = bound hat nur die Rechte, die access.yaml dem Namen gibt. Sie können keine Rechte geben, die Sie nicht haben.
operators-created = Angelegt
operators-removed = Entfernt
operators-actions = Aktionen
operators-link-until = Link gültig bis
operators-confirm = Bestätigen
operators-confirm-one = { $name } nach der Wiederherstellung bestätigen
operators-link = Neuer Link
operators-link-one = Neuer Link für { $name }
operators-remove = Entfernen
operators-remove-one = { $name } entfernen
operators-remove-passkey-one = Passkey { $label } von { $name } entfernen
operators-add = Person hinzufügen
operators-add-button = Hinzufügen und Link zeigen
operators-hours = Link gültig für
operators-for-hours = { $count ->
    [one] { $count } Stunde
   *[other] { $count } Stunden
}
operators-link-title = Link zum Einschreiben
operators-link-lead = Geben Sie diesen Link { $name } und niemandem sonst, auf einem Weg, den andere nicht lesen. Er wird einmal gezeigt und gilt einmal.
operators-link-incomplete = Der Dienst kennt die Adresse seiner Konsole nicht, deshalb fehlt dem Link der Anfang. Starten Sie ihn mit
operators-link-reset = Diese Person hat Passkeys. Wer den Link öffnet, kann sich als diese Person anmelden; das Audit-Protokoll und ein Ereignis sagen, dass Sie ihn angelegt haben.
operator-active = aktiv
operator-invited = eingeladen
operator-without = ohne Passkey
operator-suspended = ausgesetzt
operator-removed = entfernt

# Verify
verify-title = Prüfen
verify-lead = Prüft Registrierungen, Berechtigungen, Zugangsdaten und Mailserver der eingeschalteten Profile, so wie sie in Betrieb sind.
verify-all = { $count ->
    [one] Das eingeschaltete Profil prüfen
   *[other] { $count } eingeschaltete Profile prüfen
}
verify-now = Jetzt prüfen
verify-runs = Läufe
verify-none = Kein Lauf seit dem Start des Dienstes.
verify-started = Begonnen
verify-by = Von
verify-what = Profile
verify-profiles = { $count ->
    [one] 1 Profil
   *[other] { $count } Profile
}
verify-failures = { $count ->
    [one] 1 Profil mit Fehlern
   *[other] { $count } Profile mit Fehlern
}
verify-standing-running = läuft
verify-standing-complete = vollständig
verify-standing-incomplete = vorzeitig beendet
verify-run-title = Prüfung
verify-progress = { $done } von { $total } geprüft
verify-reload = Fortschritt erneut zeigen
verify-incomplete = Der Lauf endete, bevor alle Profile geprüft waren: Die Sitzung endete, oder die Ergebnisse ließen sich nicht speichern. Starten Sie einen neuen.
verify-good = Keine Fehler. Warnungen stehen auf den Seiten der Profile.
verify-results = Befunde mit Abhilfe

# Rollouts
rollouts-title = Rollouts
rollouts-lead = Was dieser Dienst von Rollouts und von watch weiß: wer jetzt eine Lease hält, und was angewandt wurde.
rollouts-state = Stand
rollouts-applied = Zuletzt angewandt
rollouts-commit = Commit
rollouts-since = Seitdem
rollouts-no-drift = nichts außerhalb von Git geändert
rollouts-drift = { $count ->
    [0] kein Profil außerhalb von Git geändert
    [one] 1 Profil außerhalb von Git geändert
   *[other] { $count } Profile außerhalb von Git geändert
}
rollouts-never = Die Dateien wurden nie angewandt.
rollouts-earlier = In den neuesten { $count } Generationen wurden die Dateien nicht angewandt.
rollouts-watch = Watch
rollouts-no-watch = Kein watch hält die Lease dieser Umgebung: Keiner wendet jetzt ihre Änderungen an.
rollouts-watch-help = Ein watch, der nur berichtet, hält keine Lease. Worauf er wartet, steht auf seiner Statusseite, und in:
rollouts-running = Laufende Rollouts
rollouts-none = Kein Rollout hält hier eine Lease. Ein Rollout hat seine Lease nur beim Dienst seines Koordinators.
rollouts-help = Wellen, Umgebungen und Pausen stehen im Journal des Rollouts, auf der Maschine, die es ausführt.
rollouts-applies = Angewandtes

# Access
access-title = Zugriff
access-lead = Rollen und Bindungen, die in Kraft sind. Geändert werden sie in environments/{ $environment }/access.yaml.
access-explain = Was darf ein Subjekt?
access-subject = Subjekt
access-token-role = Rolle des Tokens oder der Person
access-ask = Zeigen
access-role = Rolle
access-unbound = Keine Bindung nennt es.
access-bound = Bindungen:
access-role-unknown = Es hat auch die eingebaute Rolle, mit der es angelegt wurde: Wählen Sie sie oben.
access-nothing = Es darf nichts.
access-area = Bereich
access-areas = Bereiche
access-activity = Tätigkeit
access-activities = Tätigkeiten
access-by = Rolle (Grant)
access-limits = Grenzen
access-no-limits = keine
access-who = Wer darf ein Feld ändern?
access-field = Feld
access-profile = Profil
access-no-profile = Dieses Profil gibt es nicht.
access-no-holder = Niemand.
access-who-help = Eine Änderung braucht auch einen Weg: edit in changes von Hand, apply für die Dateien aus Git.
access-bindings = Bindungen
access-no-bindings = Es gibt keine Bindungen: Tokens und Personen haben die eingebauten Rollen, mit denen sie angelegt wurden.
access-binding = Bindung
access-subjects = Subjekte
access-roles = Rollen
access-built-in = Eingebaute Rollen
access-own-roles = Rollen der Richtlinie
access-further = dieselbe Rolle

test-title = Testnachricht
test-lead = Eine kurze Nachricht mit festem Text, gesendet wie Mail des ERP: über dieses Profil und mit seinen Grenzen. Ist seine Mail angehalten, wartet sie.
test-to = An
test-to-help = Eine Adresse, zum Beispiel Ihre eigene.
test-rewritten = In dieser Umgebung geht alle Mail stattdessen an { $address }.
test-allowed = Diese Umgebung sendet nur an { $addresses }.
test-button = Testnachricht senden
test-obstacle-delegate = Dieses Profil sendet als Benutzer, der im ERP angemeldet ist. Der Dienst kann sich nicht als Benutzer anmelden und deshalb keine Testnachricht senden: Senden Sie eine aus dem ERP, als dieser Benutzer. „Jetzt prüfen“ prüft die Registrierung.
test-obstacle-disabled = Das Profil ist ausgeschaltet und sendet nichts. Schalten Sie es zuerst ein.
test-obstacle-right = Sie können keine Testnachricht senden: Ihre Rechte enthalten submit in mail für keine Firma und Funktion dieses Profils.
test-obstacle-other-profiles = Für alle seine Firmen und Funktionen kommt ein anderes Profil zuerst, deshalb sendet dieses jetzt nichts. Die Abdeckung zeigt, welches und warum.
test-mail-subject = Testnachricht des Profils { $profile } ({ $environment })
test-mail-text =
    Dies ist eine Testnachricht von Mailwright. Sie kann gelöscht werden.

    Umgebung: { $environment }
    Profil: { $profile }
    Firma: { $company }
    Funktion: { $function }
    Gesendet: { $time }

wait-means-suspended = Der Server oder Microsoft lehnt ab, womit dieses Profil sich anmeldet oder sendet. Alle Mail des Profils wartet, keine geht verloren. Der Dienst versucht es zur Zeit unten von selbst wieder.
wait-means-no-sender = Kein Profil, über das der Dienst senden kann, bedient jetzt diese Firma und Funktion.
wait-means-held = Diese Mail ist angehalten, aus dem Grund unten. Am Profil liegt es nicht.
wait-means-server-away = Der Server ist nicht erreichbar. Der Dienst versucht es von selbst wieder; die Zeit, in der Versuche wiederholt werden, läuft weiter.
wait-means-throttled = Der Server nimmt vorerst nichts mehr an. Der Dienst wartet, so lange der Server verlangt, und macht dann von selbst weiter.
wait-means-limited = Die Grenzen dieses Profils sind erreicht. Seine Mail wird von selbst gesendet, wie sie es erlauben.
wait-means-retry = Der letzte Versuch gelang nicht, und der Server hat die Nachricht nicht endgültig abgelehnt. Der Dienst versucht es zur Zeit unten von selbst wieder.
wait-means-scheduled = Die Nachricht ist fällig und wird gesendet, wenn sie an der Reihe ist.
wait-remedy-suspended = Berichtigen Sie das Profil: ein neuer Wert für ein abgelehntes Geheimnis, der Server, oder die Berechtigung, die die Antwort nennt. Ist die Änderung angewandt, wird die Mail gesendet; „Jetzt senden“ versucht es sofort.
wait-remedy-no-sender = Nehmen Sie die Firma und die Funktion in ein Profil auf, oder schalten Sie eines ein, das beide hat.
wait-remedy-held = Geben Sie die Mail frei, oder warten Sie, bis das Anhalten endet.
wait-remedy-server-away = Prüfen Sie Name und Port des Servers im Profil, und ob der Dienst ihn erreichen kann. „Jetzt prüfen“ auf der Seite des Profils testet die Verbindung.
wait-remedy-throttled = Es ist nichts zu tun. Geschieht es oft, senken Sie die Grenzen des Profils auf das, was der Server erlaubt.
wait-remedy-limited = Es ist nichts zu tun. Erlaubt der Server mehr, heben Sie die Grenzen des Profils an.
wait-remedy-retry = Nennt die Antwort eine Ursache, beheben Sie sie; „Jetzt senden“ wartet nicht auf den nächsten Versuch.
wait-remedy-scheduled = Es ist nichts zu tun.
wait-link-profile = Seite des Profils
wait-link-holds = Angehaltene Mail
wait-link-edit = Profil ändern
wait-link-coverage = Warum kein Profil sendet
wait-rotation = Wechsel des Geheimnisses:
wait-command = Dasselbe auf der Befehlszeile:

delegate-title = Für mich
delegate-lead = Nachrichten, die aus Ihrem eigenen Postfach versendet werden. Sie warten, bis Sie sie hier senden.
delegate-lead-one = Eine Nachricht, die aus Ihrem eigenen Postfach versendet wird. Sie wartet, bis Sie sie hier senden.
delegate-all = Alle Nachrichten, die warten
delegate-no-script = Diese Seite braucht JavaScript: Sie meldet Sie bei Microsoft an und sendet im Browser aus Ihrem Postfach.
delegate-no-profile = Hier kann nichts gesendet werden: Kein eingeschaltetes Profil sendet im Browser als angemeldete Person (microsoft-graph-delegate, Plattform spa), oder Sie dürfen für kein Unternehmen Nachrichten von Benutzern einreichen.
delegate-profile = Profil
delegate-choose = Wählen
delegate-sign-in = Bei Microsoft anmelden
delegate-sign-in-help = Sie senden mit dem Konto, mit dem Sie sich anmelden. Dieser Dienst erhält keinen Zugriff auf Ihr Postfach; den hat nur dieser Tab.
delegate-account = Bei Microsoft angemeldet als
delegate-other-account = Anderes Konto verwenden
delegate-sign-out = Dieses Konto vergessen
delegate-consent = Der Anwendung fehlt die Zustimmung, für Sie zu senden. Eine Administratorin oder ein Administrator Ihrer Organisation erteilt sie für alle:
delegate-consent-link = Zustimmung erteilen
delegate-return-title = Anmeldung bei Microsoft
delegate-return-none = In diesem Tab gibt es keine Anmeldung, die fortgesetzt werden kann.
delegate-empty = Für dieses Konto wartet nichts.
delegate-reload = Neu laden
delegate-send = Senden
delegate-look = In „Gesendete Elemente“ nachsehen
delegate-cancel = Abbrechen
delegate-leaving = Weiter zu Microsoft …
delegate-loading = Wird geladen …
delegate-submitting = Die Nachricht wird übergeben …
delegate-sending = Wird gesendet … Lassen Sie diesen Tab offen.
delegate-sent = Gesendet: { $subject }
delegate-failed = Microsoft lehnt diese Nachricht endgültig ab: { $subject }. { $reason }
delegate-released = Nicht gesendet; die Nachricht wartet: { $subject }. { $reason }
delegate-unknown = Es ist nicht bekannt, ob Microsoft diese Nachricht angenommen hat: { $subject }. Sehen Sie in „Gesendete Elemente“ nach, bevor Sie sie noch einmal senden. { $reason }
delegate-upload-refused = Der Browser darf die Anlage { $name } nicht hochladen, die für eine einzelne Anfrage zu groß ist. Die Nachricht wartet. Senden Sie sie von einem Desktop, wenn die Anwendung auch die Plattform „Mobilgerät- und Desktopanwendungen“ hat:
delegate-upload-command = mailwright delegate run %environment% --tenant %tenant% --application %client%
delegate-cancelled = Abgebrochen: { $subject }
delegate-not-found = Diese Nachricht ist nicht in „Gesendete Elemente“: { $subject }. Sie kann dort noch erscheinen; ihr Ausgang bleibt unbekannt.
delegate-not-reported = Der Ausgang ist „{ $outcome }“, und der Dienst weiß es nicht. Senden Sie die Nachricht nicht noch einmal. Sehen Sie hier in „Gesendete Elemente“ nach, sobald der Dienst antwortet.
delegate-other-redirect = Hier können Sie sich nicht bei Microsoft anmelden. Der Umleitungs-URI des Profils ist { $redirect }, der dieser Seite { $expected }. Registrieren Sie den zweiten in Entra für die Plattform „Single-Page-Webanwendung“ und tragen Sie ihn im Profil ein, oder senden Sie mit dem Programm unter der ersten Adresse.
delegate-other-account-waits = Diese Nachricht wartet auf ein anderes Konto als { $account }. Verwenden Sie das Konto, für das sie eingereicht wurde.
delegate-changed-account = Sie haben sich mit einem anderen Konto angemeldet als zuvor. Es wurde nichts gesendet. Diese Seite ist jetzt die von { $account }.
delegate-mixed-accounts = Microsoft hat die Berechtigung zum Senden einem anderen Konto gegeben. Es wurde nichts gesendet. Vergessen Sie dieses Konto, und melden Sie sich neu an.
delegate-leased = Ein anderes Fenster oder Programm von Ihnen sendet diese Nachricht gerade.
delegate-again = Microsoft verlangt eine neue Anmeldung. Die Nachricht wartet; drücken Sie die Schaltfläche noch einmal.
delegate-session-ended = Ihre Sitzung in der Konsole ist beendet. Laden Sie die Seite neu; die Nachricht wurde nicht angenommen.
delegate-problem = Das hat nicht geklappt: { $reason }
delegate-no-subject = (kein Betreff)
delegate-named = { $by } gibt an, dass diese Nachricht von Ihnen ist. Senden Sie sie nur, wenn Sie sie kennen.
delegate-facts = { $company } · eingereicht von { $by } · %at%
delegate-possible-duplicate = Sie wurde vielleicht schon gesendet. Sie wartet bis { $until }.
delegate-status-awaiting-sender = Sie wartet bis { $until }.
delegate-status-sending = Sie wird gerade gesendet, längstens bis { $until }.
delegate-status-unknown = Es ist nicht bekannt, ob sie gesendet wurde.
delegate-status-delivered = Sie wurde gesendet.
delegate-status-failed = Sie ist fehlgeschlagen.
delegate-status-cancelled = Sie wurde abgebrochen.

compose-title = Verfassen
compose-lead = Eine Nachricht, die aus Ihrem eigenen Postfach versendet wird und dort in „Gesendete Elemente“ liegt.
compose-company = Unternehmen
compose-to = An
compose-to-help = Mehrere Adressen werden durch Kommas getrennt.
compose-cc = Kopie an
compose-bcc = Blindkopie an
compose-subject = Betreff
compose-text = Text
compose-attachments = Anlagen
compose-attachments-help = Eine einzelne Datei von mehr als etwa 2,9 MB kann meist nicht aus einem Browser gesendet werden.
compose-send = Senden
compose-shown = Nachricht zeigen
