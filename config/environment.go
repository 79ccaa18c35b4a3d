package config

// Environment is the name of an installation's stage. A name nobody knows
// behaves as production, so that a typing mistake can only make it stricter.
type Environment string

// The stages with a meaning of their own.
const (
	Development Environment = "development"
	Staging     Environment = "staging"
	Production  Environment = "production"
)

// Development reports whether demo data, generated secrets, embedded servers
// and the development identity provider are allowed.
func (e Environment) Development() bool { return e == Development }

// Stage returns the environment whose rules and presets hold: e itself for the
// three known names, otherwise Production.
func (e Environment) Stage() Environment {
	switch e {
	case Development, Staging:
		return e
	default:
		return Production
	}
}
