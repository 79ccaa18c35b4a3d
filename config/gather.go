package config

import (
	"os"
	"regexp"
	"strings"
)

// Source says where a value came from.
type Source string

// The sources, weakest first.
const (
	FromDefault Source = "default"
	FromDotEnv  Source = ".env"
	FromFile    Source = "file"        // the file that NAME_FILE names
	FromEnv     Source = "environment" // the process's environment
)

// gathered is the text of every variable before it is parsed.
type gathered struct {
	text    map[string]string
	sources map[string]Source
}

// maxSecretFile bounds what NAME_FILE may hold, in bytes: a key file is small,
// and a wrong path should not fill the memory.
const maxSecretFile = 64 << 10

// gather merges the environment, .env and secret files over the defaults. The
// real environment wins over .env; an empty value counts as unset, as compose
// files pass one for a variable that nobody set.
func gather(opts Options, ps *problems) gathered {
	real := map[string]string{}
	for _, line := range opts.Environ {
		if name, value, ok := strings.Cut(line, "="); ok && name != "" {
			real[name] = value
		}
	}
	checkNames(real, "", ps)

	env := Environment(real["HEDDLE_ENV"])
	if env == "" {
		env = Development
	}
	var file map[string]string
	if env.Development() {
		file = readDotEnv(opts.DotEnv, ps)
		checkNames(file, opts.DotEnv+" ", ps)
		if name := file["HEDDLE_ENV"]; name != "" && name != string(Development) {
			ps.add(opts.DotEnv+" HEDDLE_ENV", "must be set in the real environment: this file is read in development only")
			delete(file, "HEDDLE_ENV")
		}
	}

	g := gathered{text: map[string]string{}, sources: map[string]Source{}}
	for _, v := range variables() {
		switch {
		case g.take(v, real, FromEnv, ps):
		case g.take(v, file, FromDotEnv, ps):
		default:
			g.sources[v.name] = FromDefault
			g.text[v.name] = v.defaultIn(env)
		}
	}
	return g
}

// take sets v from values, directly or through its _FILE, and reports whether
// values says anything about it.
func (g gathered) take(v variable, values map[string]string, source Source, ps *problems) bool {
	value, path := values[v.name], ""
	if v.secret {
		path = values[v.name+"_FILE"]
	}
	switch {
	case value == "" && path == "":
		return false
	case value != "" && path != "":
		ps.add(v.name, "is set, and so is %s_FILE: keep one of them", v.name)
	case path != "":
		source = FromFile
		value = readSecretFile(v.name+"_FILE", path, ps)
	}
	g.sources[v.name] = source
	g.text[v.name] = value
	return true
}

func readSecretFile(name, path string, ps *problems) string {
	info, err := os.Stat(path)
	if err != nil {
		ps.add(name, "cannot be read: %v", err)
		return ""
	}
	if info.IsDir() || info.Size() > maxSecretFile {
		ps.add(name, "%s is not a file of at most %d bytes", path, maxSecretFile)
		return ""
	}
	content, err := os.ReadFile(path)
	if err != nil {
		ps.add(name, "cannot be read: %v", err)
		return ""
	}
	value := strings.TrimRight(string(content), "\r\n")
	if value == "" {
		ps.add(name, "%s is empty", path)
	}
	return value
}

// serviceLink matches what Kubernetes puts into every pod beside a Service
// whose name starts with "heddle"; those are not settings.
var serviceLink = regexp.MustCompile(`^HEDDLE(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// checkNames reports every HEDDLE_ name that is no setting. HEDDLE_TEST_ and
// HEDDLE_BENCH_ belong to our tests and benchmarks, which start this binary.
func checkNames(values map[string]string, where string, ps *problems) {
	known := map[string]bool{}
	var names []string
	for _, v := range variables() {
		known[v.name] = true
		names = append(names, v.name)
		if v.secret {
			known[v.name+"_FILE"] = true
			names = append(names, v.name+"_FILE")
		}
	}
	inKubernetes := values["KUBERNETES_SERVICE_HOST"] != ""
	for _, name := range sortedKeys(values) {
		switch {
		case !strings.HasPrefix(name, "HEDDLE_"), known[name],
			strings.HasPrefix(name, "HEDDLE_TEST_"), strings.HasPrefix(name, "HEDDLE_BENCH_"),
			inKubernetes && serviceLink.MatchString(name):
		default:
			ps.add(where+name, "is not a variable of Heddle; the nearest is %s", nearest(name, names))
		}
	}
}
