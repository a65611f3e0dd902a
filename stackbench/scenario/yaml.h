// YAML 1.2 as a tree in which everything knows its place. libfyaml does the parsing and stays in
// yaml.cc; nothing here decides what a scalar means (decode.h does).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stackbench {

// Where something was written. Origin 0 is the file; origin n is the n-th --set.
struct Place {
  int origin = 0;
  int line = 1;    // from 1
  int column = 1;  // from 1, in characters
  bool operator==(const Place&) const = default;
};

struct YamlEntry;

struct YamlNode {
  enum class Kind { scalar, list, map };
  Kind kind = Kind::scalar;
  Place place{};
  std::string text{};              // scalars: the text, quotes and escapes resolved
  bool plain = true;               // scalars: written without quotes
  std::vector<YamlNode> items{};   // lists
  std::vector<YamlEntry> entries;  // maps: in the order of the file, duplicates included

  // Whether nothing stands there: an empty value, `~` or `null`.
  [[nodiscard]] bool is_nothing() const;
  // The first entry of that name, or nullptr.
  [[nodiscard]] YamlEntry* find(std::string_view key);
  [[nodiscard]] const YamlEntry* find(std::string_view key) const;
};

struct YamlEntry {
  std::string key;
  bool key_plain = true;
  Place key_place{};
  YamlNode value{};
};

struct YamlFault {
  Place place;
  std::string message;
};

// What was read. `root` is absent when the text holds no document or could not be read to its end.
// There may be both a root and faults: what we refuse (tags, a second document) is reported and
// read past.
struct YamlDocument {
  std::optional<YamlNode> root;
  std::vector<YamlFault> faults;
};

// Parses text of at most 256 KiB; larger, deeper (32) and wider (20,000 values, aliases counted as
// often as they are used) ones are a fault, so that no file can make us work without end. Places
// get `origin`. Prints nothing, whatever it is fed.
[[nodiscard]] YamlDocument parse_yaml(std::string_view text, int origin = 0);

inline constexpr std::size_t yaml_size_limit = std::size_t{256} << 10;

// A file of several documents, those with nothing in them left out; up to the first that could not
// be read.
struct YamlStream {
  std::vector<YamlNode> documents;
  std::vector<YamlFault> faults;
};

// The same for files that hold many documents, as Kubernetes manifests do: of at most 4 MiB,
// 200,000 values and 64 levels, whose keys may be as long as labels and annotations have them. JSON
// is YAML, too.
[[nodiscard]] YamlStream parse_yaml_stream(std::string_view text, int origin = 0);

inline constexpr std::size_t yaml_stream_size_limit = std::size_t{4} << 20;

}  // namespace stackbench
