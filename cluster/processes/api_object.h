// An object as it is given to an API server.
#pragma once

#include <string>

#include "base/json.h"

namespace cluster::processes {

struct ApiObject {
  std::string path;  // of the list it goes into: "/api/v1/namespaces"
  base::Json object;
};

}  // namespace cluster::processes
