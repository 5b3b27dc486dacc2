#!/usr/bin/env bash
# The part of `kafka.sh start --secure`: adds certificates, listeners with TLS and SASL, users and ACLs to a node.
#
# Listeners in addition to the plain one:
#   sasl_ssl        TLS and SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
#   sasl_plaintext  SASL without TLS: only SCRAM-SHA-512, so that other mechanisms are rejected
#   oauth           SASL OAUTHBEARER without TLS; tokens need no signature
#   oauth_jwt       SASL OAUTHBEARER without TLS; tokens are signed with the key jwt_key, for the audience kafka
#   ssl             TLS without SASL
#   expired         TLS with a certificate that expired yesterday
#   ending          TLS with a certificate that expires in five days
#   mutual          TLS that requires a client certificate of the same CA
#   other_host      TLS with a certificate for kafka.elsewhere.example
#   lost            plain, but advertised under a name that does not resolve
#
# Users: admin and the owner of the client's certificate (all operations), shop (limited by ACLs: all operations on
# topics that begin with t or dlq.t, and on groups and transactional ids that begin with g, as in the tests), guest (no
# access). Their passwords are NAME-password. Clients without SASL (User:ANONYMOUS), such as the tools of the tests, have
# full access.
# shellcheck disable=SC2154

SECURE_LISTENERS=(sasl_ssl sasl_plaintext oauth oauth_jwt ssl mutual expired ending other_host lost)
SECURE_USERS=(admin shop guest)

# Creates a key and a certificate of the node's CA in one PEM file, as Kafka expects: name, days, subjectAltName.
make_certificate() {
    local dir=$1 name=$2 days=$3 names=$4
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=kafka-$name" \
        -keyout "$dir/$name.key" -out "$dir/$name.csr"
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days "$days" \
        -extfile <(printf 'subjectAltName=%s\n' "$names") -out "$dir/$name.crt"
    cat "$dir/$name.key" "$dir/$name.crt" "$dir/ca.pem" >"$dir/$name.pem"
}

make_certificates() {
    local dir="$node/tls" here="DNS:localhost,IP:127.0.0.1" ca
    mkdir -p "$dir"
    {
        for ca in ca other-ca; do
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=Test $ca" \
                -keyout "$dir/$ca.key" -out "$dir/$ca.pem"
        done
        make_certificate "$dir" good 365 "$here"
        make_certificate "$dir" expired -1 "$here"
        make_certificate "$dir" ending 5 "$here"
        make_certificate "$dir" other_host 365 "DNS:kafka.elsewhere.example"
        make_certificate "$dir" client 365 "DNS:client"
        openssl genrsa -out "$dir/jwt.key" 2048
    } >"$node/tls.log" 2>&1 || { cat "$node/tls.log" >&2; fail "openssl could not create the certificates."; }
}

# Kafka reads the public key of the signed tokens as a JSON Web Key Set.
write_key_set() {
    # shellcheck disable=SC2016
    "$PHP" -r '
        $rsa = openssl_pkey_get_details(openssl_pkey_get_private(file_get_contents($argv[1])))["rsa"];
        $text = fn (string $bytes): string => rtrim(strtr(base64_encode($bytes), "+/", "-_"), "=");
        $key = ["kty" => "RSA", "kid" => "test", "alg" => "RS256", "use" => "sig", "n" => $text($rsa["n"]), "e" => $text($rsa["e"])];
        file_put_contents($argv[2], json_encode(["keys" => [$key]]));
    ' "$node/tls/jwt.key" "$node/tls/jwks.json" >/dev/null
}

# The settings of one listener: name, protocol, port, advertised address.
add_listener() {
    local name=$1 protocol=$2 port=$3 advertised=$4
    sed -i -e "s|^\(listeners=.*\)|\1,${name^^}://127.0.0.1:$port|" \
        -e "s|^\(advertised.listeners=.*\)|\1,${name^^}://$advertised|" \
        -e "s|^\(listener.security.protocol.map=.*\)|\1,${name^^}:$protocol|" "$node/server.properties"
    echo "$name=127.0.0.1:$port" >>"$node/secure"
}

# Sets the key store and, for SASL, the users of PLAIN; the SCRAM users are in the cluster's metadata.
secure_listener() {
    local name=$1 certificate=$2 mechanisms=$3 user accounts=""
    {
        if [ -n "$certificate" ]; then
            echo "listener.name.$name.ssl.keystore.type=PEM"
            echo "listener.name.$name.ssl.keystore.location=$node/tls/$certificate.pem"
        fi
        [ -z "$mechanisms" ] || echo "listener.name.$name.sasl.enabled.mechanisms=$mechanisms"
        if [[ ",$mechanisms," == *,PLAIN,* ]]; then
            for user in "${SECURE_USERS[@]}"; do accounts+=" user_$user=\"$user-password\""; done
            echo "listener.name.$name.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required$accounts;"
        fi
        for scram in 256 512; do
            if [[ ",$mechanisms," == *,SCRAM-SHA-$scram,* ]]; then
                echo "listener.name.$name.scram-sha-$scram.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
            fi
        done
    } >>"$node/server.properties"
}

# Rewrites the node's configuration; prints the arguments for formatting its data directory, one per line.
secure_node() {
    local listener port user hash
    make_certificates
    cat >>"$node/server.properties" <<TEXT

listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS;User:CN=kafka-client
TEXT
    : >"$node/secure"
    for listener in "${SECURE_LISTENERS[@]}"; do
        port=$(free_port)
        case "$listener" in
            sasl_ssl) add_listener "$listener" SASL_SSL "$port" "127.0.0.1:$port" ;;
            sasl_plaintext | oauth | oauth_jwt) add_listener "$listener" SASL_PLAINTEXT "$port" "127.0.0.1:$port" ;;
            lost) add_listener "$listener" PLAINTEXT "$port" "kafka-7.invalid:$port" ;;
            *) add_listener "$listener" SSL "$port" "127.0.0.1:$port" ;;
        esac
    done
    secure_listener sasl_ssl good PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
    secure_listener sasl_plaintext "" SCRAM-SHA-512
    write_key_set
    for listener in oauth oauth_jwt; do
        secure_listener "$listener" "" OAUTHBEARER
        cat >>"$node/server.properties" <<TEXT
listener.name.$listener.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.$listener.oauthbearer.connections.max.reauth.ms=3600000
TEXT
    done
    cat >>"$node/server.properties" <<TEXT
listener.name.oauth_jwt.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.oauth_jwt.sasl.oauthbearer.jwks.endpoint.url=file://$node/tls/jwks.json
listener.name.oauth_jwt.sasl.oauthbearer.expected.audience=kafka
TEXT
    secure_listener ssl good ""
    secure_listener mutual good ""
    cat >>"$node/server.properties" <<TEXT
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.truststore.type=PEM
listener.name.mutual.ssl.truststore.location=$node/tls/ca.pem
TEXT
    for listener in expired ending other_host; do secure_listener "$listener" "$listener" ""; done
    {
        echo "plain=$(address)"
        echo "ca=$node/tls/ca.pem"
        echo "certificate=$node/tls/client.crt"
        echo "key=$node/tls/client.key"
        echo "jwt_key=$node/tls/jwt.key"
        echo "other_ca=$node/tls/other-ca.pem"
    } >>"$node/secure"
    for user in "${SECURE_USERS[@]}"; do
        for hash in 256 512; do
            printf '%s\n' --add-scram "SCRAM-SHA-$hash=[name=$user,password=$user-password]"
        done
    done
}

# The initial ACLs of the user shop.
allow_shop() {
    admin org.apache.kafka.tools.AclCommand --add --allow-principal User:shop --operation All --resource-pattern-type prefixed \
        --topic t --topic dlq.t --group g --transactional-id g >"$node/acl.log" 2>&1 || { cat "$node/acl.log" >&2; fail "Kafka did not accept the ACLs."; }
}
