// What an end of a TLS connection shows and believes, given to OpenSSL: for whoever dials by TLS
// here, to look at who answers or to measure.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/freed.h"
#include "base/result.h"

namespace bench::tls {

using Context = std::unique_ptr<SSL_CTX, base::Freed<SSL_CTX_free>>;
using Session = std::unique_ptr<SSL, base::Freed<SSL_free>>;
using Certificate = std::unique_ptr<X509, base::Freed<X509_free>>;

// What OpenSSL says of its last failure on this thread, which it then forgets.
[[nodiscard]] std::unexpected<base::Error> openssl_error(base::ErrorKind kind,
                                                         std::string_view what);

// Has connections of `context` show a certificate with its chain, PEM, by its key, PEM; nothing
// where `certificate` is empty. Errors: input, led by `whose`: "door a: its certificate".
[[nodiscard]] base::Result<> show(SSL_CTX* context, const std::string& certificate,
                                  const std::string& key, std::string_view whose);

// Has them believe what this authority signed, and refuse everything else. Errors: input.
[[nodiscard]] base::Result<> believe(SSL_CTX* context, const std::string& authority);

}  // namespace bench::tls
