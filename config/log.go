package config

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// LogLevels is the lowest level logged, with exceptions per package.
type LogLevels struct {
	Default slog.Level
	Modules map[string]slog.Level // by package path inside the module, such as "agents/run"
}

// For returns the level of a package: its own exception, else that of the
// nearest package above it ("agents" for "agents/run"), else the default.
func (l LogLevels) For(module string) slog.Level {
	for {
		if level, ok := l.Modules[module]; ok {
			return level
		}
		at := strings.LastIndexByte(module, '/')
		if at < 0 {
			return l.Default
		}
		module = module[:at]
	}
}

// UnmarshalText reads LEVEL and PACKAGE=LEVEL entries, separated by commas.
func (l *LogLevels) UnmarshalText(text []byte) error {
	*l = LogLevels{Modules: map[string]slog.Level{}}
	general := false
	for _, entry := range items(string(text)) {
		module, name, exception := strings.Cut(entry, "=")
		if !exception {
			module, name = "", entry
		}
		level, ok := logLevel(strings.TrimSpace(name))
		if !ok {
			return fmt.Errorf("%q: the level must be debug, info, warn or error", entry)
		}
		module = strings.Trim(strings.TrimSpace(module), "/")
		switch {
		case exception && module == "":
			return fmt.Errorf("%q names no package before the equals sign", entry)
		case exception:
			l.Modules[module] = level
		case general:
			return fmt.Errorf("%q is a second general level; exceptions are written package=level", entry)
		default:
			l.Default, general = level, true
		}
	}
	return nil
}

// String returns the levels as they are written.
func (l LogLevels) String() string {
	parts := []string{strings.ToLower(l.Default.String())}
	for _, module := range slices.Sorted(maps.Keys(l.Modules)) {
		parts = append(parts, module+"="+strings.ToLower(l.Modules[module].String()))
	}
	return strings.Join(parts, ",")
}

func logLevel(name string) (slog.Level, bool) {
	switch name {
	case "debug":
		return slog.LevelDebug, true
	case "info":
		return slog.LevelInfo, true
	case "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	default:
		return 0, false
	}
}

// Logger returns the logger for one package, which drops what lies below its
// level. All loggers may share one w: each line is a single Write.
func (l Log) Logger(w io.Writer, module string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: l.Levels.For(module)}
	if l.Format == LogText {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}
