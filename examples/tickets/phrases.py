"""The wordings that tickets are made of, apart per split: a test ticket never repeats a training sentence.

`{p}` stands for the product as the customer calls it. Every entry lists the phrases of train, validation and test,
in this order.
"""

from typing import NamedTuple


class Phrases(NamedTuple):
    """Ways to say one thing, by split."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class Issue(NamedTuple):
    """One kind of trouble and the category that it belongs to."""

    category: str
    phrases: Phrases


# Canonical name -> how customers write it.
PRODUCTS: dict[str, tuple[str, ...]] = {
    "router": ("router", "wifi router", "Router"),
    "headset": ("headset", "wireless headset"),
    "laptop": ("laptop", "work laptop"),
    "vacuum cleaner": ("vacuum cleaner", "robot vacuum cleaner"),
    "coffee machine": ("coffee machine", "Coffee Machine"),
    "tablet": ("tablet", "10 inch tablet"),
    "printer": ("printer", "laser printer", "colour printer"),
    "smart watch": ("smart watch", "Smart Watch"),
    "keyboard": ("keyboard", "mechanical keyboard"),
    "monitor": ("monitor", "27 inch monitor"),
    "camera": ("camera", "digital camera"),
    "air purifier": ("air purifier", "bedroom air purifier"),
    "toaster": ("toaster", "two slice toaster"),
    "speaker": ("speaker", "bluetooth speaker"),
}

ISSUES: dict[str, Issue] = {
    "late": Issue(
        "delivery",
        Phrases(
            train=(
                "my {p} should have been here last week and there is no sign of it",
                "I am still waiting for the {p} I ordered",
                "the {p} has not arrived yet",
                "tracking for the {p} has not moved in nine days",
                "the delivery of my {p} was promised for Monday and nobody came",
                "the parcel with the {p} seems to be stuck at the depot",
                "the courier says the {p} was delivered but I never got it",
                "the shipment of my {p} is two weeks late",
            ),
            validation=(
                "the {p} is overdue, the van never stopped at my door",
                "no parcel with the {p} so far, though it left the warehouse long ago",
            ),
            test=(
                "the {p} still has not turned up at my house",
                "the shipment with the {p} got lost somewhere on the way",
                "my {p} was due days ago and the courier has not brought it",
                "I have been waiting a month for my {p} to be delivered",
            ),
        ),
    ),
    "wrong_item": Issue(
        "delivery",
        Phrases(
            train=(
                "the parcel had somebody else's order in it and not my {p}",
                "I ordered a {p} and was sent something else",
                "you shipped the wrong model of the {p}",
                "the {p} came in blue although I asked for black",
                "only the cable was in the box, the {p} itself was missing",
                "I was sent two of the {p} and only ordered one",
                "the {p} went to my old address instead of the new one",
            ),
            validation=(
                "the box that came holds a garden hose and not my {p}",
                "the {p} that was delivered is not the size I chose",
            ),
            test=(
                "you sent me a different {p} than the one I ordered",
                "the parcel was empty, there was no {p} inside",
                "the {p} was delivered to the wrong address",
            ),
        ),
    ),
    "broken_on_arrival": Issue(
        "damage",
        Phrases(
            train=(
                "the {p} arrived with a big crack",
                "when I opened the box the {p} was in pieces",
                "the case of the {p} is dented and scratched",
                "the {p} was smashed in transit",
                "there is a deep scratch across my brand new {p}",
                "the corner of the {p} was broken off when I unpacked it",
                "the packaging was crushed and so was the {p}",
                "the {p} came out of the box bent",
            ),
            validation=(
                "the {p} had a hole in its side when I took it out",
                "my {p} reached me cracked from one end to the other",
            ),
            test=(
                "the {p} was already broken when I unpacked it",
                "I opened the parcel and found the {p} cracked",
                "the new {p} is full of dents and scratches",
            ),
        ),
    ),
    "broken_part": Issue(
        "damage",
        Phrases(
            train=(
                "I dropped the {p} and the cover cracked",
                "a piece of plastic snapped off the {p}",
                "my {p} fell off the shelf and is chipped now",
                "the button on the {p} broke off",
                "water got into the {p} and left stains everywhere",
                "the hinge of the {p} is snapped in two",
                "my dog chewed the {p} and the shell is split",
            ),
            validation=(
                "the {p} got knocked over and its front is shattered",
                "the handle of the {p} has come off",
            ),
            test=(
                "the {p} slipped out of my hands and is cracked now",
                "part of the plastic cover of the {p} has broken off",
                "I spilled water over the {p} and the surface is stained and warped",
            ),
        ),
    ),
    "charged_wrong": Issue(
        "billing",
        Phrases(
            train=(
                "I was charged twice for the {p}",
                "my card shows two payments for one {p}",
                "the invoice for the {p} is higher than the price on your page",
                "you took the money for the {p} two times",
                "the discount code was not taken off the bill for the {p}",
                "there is a fee on my {p} invoice that nobody told me about",
                "I paid for the {p} and still get payment reminders",
                "my bank statement lists a second charge for the {p}",
            ),
            validation=(
                "the amount debited for the {p} is not what the shop showed",
                "the {p} was paid for, yet a second debit came off my account",
            ),
            test=(
                "the {p} was billed two times on my credit card",
                "I paid more for the {p} than the price that was advertised",
                "there is an extra charge for the {p} on my bank statement",
                "you keep sending payment reminders for a {p} that is paid",
            ),
        ),
    ),
    "invoice": Issue(
        "billing",
        Phrases(
            train=(
                "I never got an invoice for the {p}",
                "the invoice of the {p} has the wrong company on it",
                "the receipt for my {p} is missing and I need it for my taxes",
                "the VAT number is not on the bill for the {p}",
                "I cannot find the bill for my {p} anywhere",
                "the payment for my {p} was declined although the card is fine",
                "the instalments for the {p} are not what we agreed on",
            ),
            validation=(
                "accounting wants a proper receipt for the {p} and I have none",
                "the bill for the {p} names the wrong tax rate",
            ),
            test=(
                "there was no receipt with the {p}",
                "the address on the invoice for my {p} is wrong",
                "my card was declined when I tried to pay for the {p}",
            ),
        ),
    ),
    "dead": Issue(
        "technical",
        Phrases(
            train=(
                "the {p} does not turn on any more",
                "my {p} keeps switching itself off",
                "the {p} makes a strange noise and then stops working",
                "since yesterday the {p} is completely dead",
                "the {p} gets very hot and shuts down",
                "the light on the {p} blinks red and nothing happens",
                "the {p} freezes every few minutes",
                "the battery of the {p} is empty after ten minutes",
            ),
            validation=(
                "pressing the power button on my {p} does nothing at all",
                "the {p} hums and then goes dark",
            ),
            test=(
                "my {p} will not start, whatever button I press",
                "the {p} stops working after a few minutes",
                "the {p} overheats and turns itself off",
                "the {p} crashes again and again",
            ),
        ),
    ),
    "setup": Issue(
        "technical",
        Phrases(
            train=(
                "I cannot connect the {p} to my network",
                "the {p} will not pair with my phone",
                "the update of the {p} stops at 40 percent",
                "after the last update the {p} shows an error code",
                "I do not understand how to set up the {p}",
                "the {p} is not found by my computer",
                "the settings of the {p} are gone after every restart",
            ),
            validation=(
                "the firmware of the {p} refuses to install",
                "my {p} loses its connection all evening",
            ),
            test=(
                "the {p} does not connect to my phone",
                "the {p} shows an error since I installed the update",
                "my computer does not recognise the {p}",
            ),
        ),
    ),
    "login": Issue(
        "account",
        Phrases(
            train=(
                "I forgot my password and cannot register the {p}",
                "I cannot log in to the page where my {p} is listed",
                "the password reset mail for my {p} account never comes",
                "my account is locked and I cannot see my {p}",
                "the login for the {p} portal says unknown user",
                "the code to sign in to my {p} account is always refused",
                "I am locked out of the account that I use for the {p}",
                "signing in to my {p} profile fails every time",
            ),
            validation=(
                "my user name for the {p} site is not accepted",
                "the two step code for my {p} login does not reach me",
            ),
            test=(
                "I am unable to sign in to my {p} account",
                "my password for the {p} portal does not work any longer",
                "my account for the {p} is blocked after three login attempts",
            ),
        ),
    ),
    "profile": Issue(
        "account",
        Phrases(
            train=(
                "the email address in my {p} account is out of date",
                "I want my profile and my {p} registration to be under one user name",
                "somebody else seems to use my account with the {p}",
                "my {p} is registered to the wrong user",
                "I have two accounts and the {p} is on the old one",
                "the {p} is not shown in my profile",
                "my account still shows my former phone number next to the {p}",
            ),
            validation=(
                "a stranger's details appear in my profile beside the {p}",
                "my {p} got linked to a login that I no longer use",
            ),
            test=(
                "the {p} is registered under my old email address",
                "I think someone hacked the account I use for my {p}",
                "my user profile does not list the {p}",
            ),
        ),
    ),
    "question": Issue(
        "sales",
        Phrases(
            train=(
                "is the {p} in stock at the moment",
                "I would like to buy a {p} for our office, is there a discount for ten",
                "which {p} would you recommend for a small flat",
                "does the {p} come with a longer warranty",
                "when will the new {p} be on sale",
                "is there a student price for the {p}",
                "do you also sell the {p} in white",
                "what is the difference between the two versions of the {p}",
            ),
            validation=(
                "we think about ordering thirty of the {p}, what would that cost",
                "can one buy the {p} on your site without a contract",
            ),
            test=(
                "is the {p} available in other colours",
                "I am thinking of buying the {p}, how long is the warranty",
                "do you have a better price when I buy five of the {p}",
                "will the {p} be back in stock soon",
            ),
        ),
    ),
    "offer": Issue(
        "sales",
        Phrases(
            train=(
                "I saw the {p} cheaper in another shop, do you match prices",
                "can I trade in my old {p} for a new one",
                "could you make me an offer for a used {p}",
                "is the {p} part of the summer sale",
                "would the bigger {p} suit a family of five",
                "how much is the {p} with the extra set",
                "are there gift cards for the {p}",
            ),
            validation=(
                "could you quote me a price for the {p} plus accessories",
                "are refurbished units of the {p} for sale",
            ),
            test=(
                "another shop sells the {p} for less, can you match the price",
                "how much would you give me for my old {p} if I buy a new one",
                "which version of the {p} is best for a beginner",
            ),
        ),
    ),
}

ACTIONS: dict[str, Phrases] = {
    "refund": Phrases(
        train=(
            "I want my money back",
            "please refund me",
            "kindly return the amount to my card",
            "I expect a full refund",
            "give me back what I paid",
            "please pay the money back to my account",
        ),
        validation=("transfer the sum back to me", "I ask for reimbursement"),
        test=("please give me my money back", "I would like a refund", "send the money back to my bank account"),
    ),
    "replace": Phrases(
        train=(
            "please send me a new one",
            "I would like a replacement",
            "can you swap it for another one",
            "exchange it please",
            "I want another one sent out",
            "ship me a fresh unit",
        ),
        validation=("let me have a substitute", "post a new unit to me"),
        test=("can I get a new one instead", "please replace it", "I would like to exchange it for another one"),
    ),
    "repair": Phrases(
        train=(
            "please repair it",
            "can somebody fix this",
            "send a technician",
            "I want it repaired",
            "where can I bring it for repair",
            "please have it fixed",
        ),
        validation=("get your workshop to mend it", "arrange for it to be fixed"),
        test=("can you fix it", "I would like to have it repaired", "please send someone who can repair it"),
    ),
    "explain": Phrases(
        train=(
            "please tell me what to do",
            "can you explain this to me",
            "I need more information",
            "what should I do now",
            "please send me a guide",
            "an explanation would help me",
        ),
        validation=("walk me through it", "please describe the details"),
        test=("please explain it to me", "tell me what I have to do", "can you send me some information"),
    ),
    "cancel": Phrases(
        train=(
            "please cancel my order",
            "I want to cancel",
            "cancel everything please",
            "stop the order",
            "I do not want it any more, cancel it",
            "please call off the purchase",
        ),
        validation=("withdraw my order", "annul the purchase"),
        test=("I would like to cancel the order", "please cancel it", "cancel the purchase, I no longer want it"),
    ),
    "call": Phrases(
        train=(
            "please call me",
            "give me a call",
            "I want to talk to somebody on the phone",
            "ring me back please",
            "please phone me",
            "can someone call me back",
        ),
        validation=("get me a person on the line", "I prefer to be rung up"),
        test=("call me back please", "I would like a phone call", "can I speak to someone on the phone"),
    ),
}

# What customers with a problem of this category ask for.
REQUESTS: dict[str, tuple[str, ...]] = {
    "delivery": ("refund", "replace", "cancel", "call"),
    "damage": ("refund", "replace", "repair", "call"),
    "billing": ("refund", "explain", "cancel", "call"),
    "technical": ("refund", "replace", "repair", "explain", "cancel"),
    "account": ("repair", "explain", "call"),
    "sales": ("explain", "call"),
}

# A ticket of normal priority says nothing about time.
PRIORITIES: dict[str, Phrases] = {
    "high": Phrases(
        train=(
            "this is urgent",
            "I need an answer today",
            "as soon as possible",
            "this cannot wait",
            "it is an emergency",
            "please hurry",
            "I need this solved right now",
            "asap!!",
        ),
        validation=("time is running out", "treat this as top priority"),
        test=("it is very urgent", "please answer immediately", "I need it solved today", "this really cannot wait"),
    ),
    "normal": Phrases(train=("",), validation=("",), test=("",)),
    "low": Phrases(
        train=(
            "no hurry",
            "there is no rush",
            "take your time",
            "whenever you have a moment",
            "it is not important",
            "any time next month is fine",
            "not urgent at all",
            "it can wait",
        ),
        validation=("at your leisure", "this has plenty of time"),
        test=("there is no hurry at all", "it is not urgent", "whenever you have time", "this can wait"),
    ),
}

OPENINGS = Phrases(
    train=(
        "",
        "",
        "Hello,",
        "Hi there,",
        "Dear support team,",
        "Good morning,",
        "hey",
        "Excuse me,",
        "To whom it may concern:",
    ),
    validation=("", "Greetings,", "Hi support,"),
    test=("", "", "Good evening,", "Hello team,", "Hi,", "Dear Sir or Madam,"),
)

CLOSINGS = Phrases(
    train=("", "", "", "Thanks!", "Kind regards", "Thank you very much.", "cheers"),
    validation=("", "", "Best wishes"),
    test=("", "", "", "Many thanks", "Regards", "thx"),
)
