"""In which words does the page speak? One table for each language; every table has the same keys."""

# ruff: noqa: RUF001  # letters of Turkish

from __future__ import annotations

from collections.abc import Mapping

from ulak.core.locale import chain

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Your notifications",
        "ask": "Stop getting “{category}” by {channel}?",
        "stop": "Unsubscribe",
        "stopped": "Done: you get nothing more about “{category}” by {channel}.",
        "again": "Get it again",
        "resumed": "Done: you get “{category}” by {channel} again.",
        "off_elsewhere": "“{category}” by {channel} is switched off. You can change it where you are logged in.",
        "choose": "Choose what you want to get. What is important for your safety always comes.",
        "fixed": "switched off elsewhere",
        "save": "Save",
        "saved": "Saved.",
        "nothing": "There is nothing to choose.",
        "invalid": "This link can’t be used",
        "invalid_text": "It may have been cut off or changed. Open it from the message once more.",
        "busy": "Please try again",
        "busy_text": "Your answer could not be saved right now. Please try again in a moment.",
        "in_app": "inbox",
        "email": "email",
        "sms": "SMS",
        "push": "push message",
        "webhook": "webhook",
    },
    "de": {
        "title": "Ihre Benachrichtigungen",
        "ask": "„{category}“ nicht mehr per {channel} bekommen?",
        "stop": "Abbestellen",
        "stopped": "Erledigt: Sie bekommen nichts mehr zu „{category}“ per {channel}.",
        "again": "Wieder bekommen",
        "resumed": "Erledigt: Sie bekommen „{category}“ wieder per {channel}.",
        "off_elsewhere": "„{category}“ per {channel} ist ausgeschaltet. Ändern können Sie es, wo Sie angemeldet sind.",
        "choose": "Wählen Sie, was Sie bekommen möchten. Was für Ihre Sicherheit wichtig ist, kommt immer.",
        "fixed": "an anderer Stelle ausgeschaltet",
        "save": "Speichern",
        "saved": "Gespeichert.",
        "nothing": "Es gibt nichts zu wählen.",
        "invalid": "Dieser Link ist nicht brauchbar",
        "invalid_text": "Vielleicht wurde er gekürzt oder verändert. Öffnen Sie ihn noch einmal aus der Nachricht.",
        "busy": "Bitte versuchen Sie es noch einmal",
        "busy_text": "Ihre Antwort konnte gerade nicht gespeichert werden. Bitte versuchen Sie es gleich noch einmal.",
        "in_app": "Posteingang der App",
        "email": "E-Mail",
        "sms": "SMS",
        "push": "Push-Nachricht",
        "webhook": "Webhook",
    },
    "tr": {
        "title": "Bildirimleriniz",
        "ask": "“{category}” bildirimleri artık gelmesin mi ({channel})?",
        "stop": "Abonelikten çık",
        "stopped": "Tamam: “{category}” bildirimleri artık gelmeyecek ({channel}).",
        "again": "Yeniden al",
        "resumed": "Tamam: “{category}” bildirimleri yeniden gelecek ({channel}).",
        "off_elsewhere": "“{category}” bildirimleri kapalı ({channel}). Oturum açtığınız yerde değiştirebilirsiniz.",
        "choose": "Neleri almak istediğinizi seçin. Güvenliğiniz için önemli olanlar her zaman gelir.",
        "fixed": "başka yerde kapatıldı",
        "save": "Kaydet",
        "saved": "Kaydedildi.",
        "nothing": "Seçilecek bir şey yok.",
        "invalid": "Bu bağlantı kullanılamıyor",
        "invalid_text": "Kesilmiş veya değiştirilmiş olabilir. Bağlantıyı iletiden bir kez daha açın.",
        "busy": "Lütfen yeniden deneyin",
        "busy_text": "Yanıtınız şu anda kaydedilemedi. Lütfen biraz sonra yeniden deneyin.",
        "in_app": "uygulama gelen kutusu",
        "email": "e-posta",
        "sms": "SMS",
        "push": "anlık bildirim",
        "webhook": "webhook",
    },
}


def language(*locales: str | None) -> str:
    """The first of the locales that the page speaks, else English."""
    for locale in locales:
        for candidate in chain(locale, "") if locale else ():
            if candidate in WORDS:
                return candidate
    return "en"


def accepted(header: bytes | None) -> list[str]:
    """Languages of ``Accept-Language`` in the order that they stand in; weights are rarely out of order."""
    text = (header or b"")[:200].decode("latin-1")
    return [part.partition(";")[0].strip() for part in text.split(",")]
