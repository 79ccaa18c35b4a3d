package admin

// Organisation is the page of an organisation's own rules.
type Organisation struct {
	// Name is what was typed, or what it is called; Slug is the short name.
	Name, Slug string
	FourEyes   bool
	Errors     map[string]string
	CSRF       string
}
