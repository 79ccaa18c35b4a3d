package present

import "strings"

// Device says in words which browser a User-Agent header claims to be, such as
// "Firefox on Linux". It is a help to recognise one's own browsers, never a
// fact: anyone may send any header.
func Device(userAgent string) string {
	if userAgent == "" {
		return "Unknown program"
	}
	program, system := firstWord(userAgent, programs), firstWord(userAgent, systems)
	switch {
	case program == "" && system == "":
		return "Unknown program"
	case program == "":
		return "Browser on " + system
	case system == "":
		return program
	}
	return program + " on " + system
}

// mark is a part of the header that gives something away.
type mark struct{ part, word string }

// programs stand in the order in which they count: most browsers also name
// those they descend from.
func programs() []mark {
	return []mark{
		{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"}, {"OPR/", "Opera"}, {"Vivaldi/", "Vivaldi"},
		{"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"HeadlessChrome/", "Headless Chrome"}, {"Chrome/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"},
		{"curl/", "curl"}, {"Wget/", "Wget"}, {"python-requests/", "Python"}, {"Go-http-client/", "Go program"},
	}
}

func systems() []mark {
	return []mark{
		{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"},
		{"CrOS", "ChromeOS"}, {"Mac OS X", "macOS"}, {"Macintosh", "macOS"}, {"Linux", "Linux"}, {"FreeBSD", "FreeBSD"},
	}
}

func firstWord(in string, marks func() []mark) string {
	for _, m := range marks() {
		if strings.Contains(in, m.part) {
			return m.word
		}
	}
	return ""
}
