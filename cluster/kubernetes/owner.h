// Who made an object on a cluster, and whether that is still alive: so that what a crashed run left
// can be told from what a live one uses.
#pragma once

#include <string>

namespace cluster {

// This process, as an annotation's value.
[[nodiscard]] std::string owner_of_ours();

enum class OwnerLife {
  alive,
  gone,
  unknown,  // on another machine, or in another container of this one
};

// What becomes of an owner's annotation, here and now.
[[nodiscard]] OwnerLife life_of(const std::string& owner);

// The machine it says, for people; "another machine" where it says none.
[[nodiscard]] std::string machine_of(const std::string& owner);

}  // namespace cluster
