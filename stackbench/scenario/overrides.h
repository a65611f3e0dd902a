// `--set PATH=VALUE`: changes to a scenario's tree before it is read, so that an override is held
// to everything the file is held to.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "stackbench/scenario/yaml.h"

namespace stackbench {

// Applies one override to the tree: `blocks=20`, `workloads.0.rate=5000/s`, `arms[1].in=nftables`.
// The value is YAML. A field that is not there yet is added, with the maps around it; items of
// lists must exist. What it writes gets Place::origin `origin`. Errors: input, a bare sentence (no
// `=`, a path through a value, an item that does not exist, a value that is not YAML); the tree may
// then have grown empty maps.
[[nodiscard]] base::Result<> apply_override(YamlNode& root, std::string_view text, int origin);

// The path of an override in the spelling of faults: "workloads[0].rate" for
// "workloads.0.rate=1/s". A name of digits is spelt as an item, whatever it turns out to be.
[[nodiscard]] std::string override_path(std::string_view text);

}  // namespace stackbench
