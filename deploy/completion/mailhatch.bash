# bash completion for mailhatch(8), written by `mailhatch help completion bash`.

_mailhatch()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local words="" files=""
    # "=" breaks words: --tls=star is three of them
    [[ $cur == = ]] && cur=
    [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}
    COMPREPLY=()
    case $prev in
    --on-temporary-failure) words="fail retry" ;;
    --log-format) words="auto json text" ;;
    --log-level) words="debug info warn error" ;;
    --relay-tls) words="starttls implicit none" ;;
    --tls) words="starttls implicit none" ;;
    --config | --tls-cert-file | --tls-key-file | --client-ca-file | --api-keys-file | --relay-password-file | --relay-ca-file | --relay-crl-file | --password-file | --ca-file | --compare) files=1 ;;
    --listen | --listen-mode | --listen-owner | --admin-listen | --api-keys | --allowed-hosts | --allowed-origins | --default-relay | --store | --request-timeout | --max-waiting | --max-inflight-bytes | --max-body | --max-recipients | --max-json-values | --max-connections | --max-connections-per-address | --http-loops | --smtp-loops | --drain-delay | --drain-timeout | --relay-url | --relay-user | --relay-password | --relay-pins | --relay-ehlo-name | --relay-max-sessions | --relay-mails-per-session | --relay-min-idle | --relay-loops | --relay-pipeline-depth | --relay-timeout | --relay-dns-timeout | --relay-connect-timeout | --relay-connect-total-timeout | --relay-banner-timeout | --relay-tls-timeout | --relay-command-timeout | --relay-write-timeout | --relay-final-reply-timeout | --relay-idle-timeout | --relay-lifetime | --relay-one-flight-max | --relay-one-flight-idle | --relay-extensions-off | --to | --from | --user | --address | --timeout | --watch) return ;;
    help) words="diagnose sample reference man man5 completion" ;;
    completion) words="bash zsh" ;;
    send) files=1 ;;
    esac
    if [[ -z $words && -z $files && $cur != -* && $COMP_CWORD -eq 1 ]]; then
        words="send diagnose check-config healthcheck key help version"
    elif [[ $cur == -* ]]; then
        words="
        --config
        --help
        --version
        --listen
        --listen-mode
        --listen-owner
        --admin-listen
        --tls-cert-file
        --tls-key-file
        --client-ca-file
        --api-keys
        --api-keys-file
        --allowed-hosts
        --allowed-origins
        --default-relay
        --sandbox
        --store
        --request-timeout
        --on-temporary-failure
        --max-waiting
        --max-inflight-bytes
        --max-body
        --max-recipients
        --max-json-values
        --address-literals
        --max-connections
        --max-connections-per-address
        --http-loops
        --smtp-loops
        --drain-delay
        --drain-timeout
        --log-format
        --log-level
        --log-addresses
        --relay-url
        --relay-user
        --relay-password
        --relay-password-file
        --relay-tls
        --relay-ca-file
        --relay-crl-file
        --relay-pins
        --relay-ehlo-name
        --relay-max-sessions
        --relay-mails-per-session
        --relay-min-idle
        --relay-loops
        --relay-pipeline-depth
        --relay-trace
        --relay-timeout
        --relay-dns-timeout
        --relay-connect-timeout
        --relay-connect-total-timeout
        --relay-banner-timeout
        --relay-tls-timeout
        --relay-command-timeout
        --relay-write-timeout
        --relay-final-reply-timeout
        --relay-idle-timeout
        --relay-lifetime
        --relay-one-flight-max
        --relay-one-flight-idle
        --relay-extensions-off
        "
        files=""
        [[ ${COMP_WORDS[1]} == diagnose ]] && words+=" --to --from --send --user --password-file --no-auth --tls --ca-file --tls-versions --all-ports --address --timeout --trace --json --quiet --watch --compare"
    fi
    if [[ -n $files ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}
complete -F _mailhatch mailhatch
