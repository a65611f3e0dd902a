// Certificates by which a mesh's doors are tried (cluster/impostors.h), by the mesh's own authority
// and by one that only its key tells from it.
#pragma once

#include <string>

#include "base/result.h"
#include "cluster/impostors.h"
#include "cluster/pki/pki.h"

namespace cluster::pki {

// `path`: of the identity that all but one of them show, "ns/default/sa/client" of the trust
// domain. `foreign_name`: what the other authority is called. Errors: system.
[[nodiscard]] base::Result<ImpostorCertificates> issue_impostors(const Authority& of_mesh,
                                                                 const std::string& trust_domain,
                                                                 const std::string& path,
                                                                 const std::string& foreign_name);

}  // namespace cluster::pki
