<!doctype html>
<html lang="en">
<head>
    <meta charset="utf-8">
    <title>Shop</title>
    {{-- An application bundles these with Vite, see resources/js/echo.js; here they are loaded unbundled. --}}
    <script src="/js/pusher.min.js"></script>
</head>
<body>
@if ($user === null)
    <p><a href="/login/1">I am An</a> · <a href="/login/2">I am Binh</a></p>
@else
    <h1>{{ $user->name }}</h1>
    <button id="order">Order</button>
    <ul id="news"></ul>
    <script type="module">
        import Echo from '/js/echo.js';

        window.say = (text) => {
            document.querySelector('#news').append(Object.assign(document.createElement('li'), {textContent: text}));
        };
        window.Echo = new Echo({
            broadcaster: 'reverb',
            key: @json($gateway['key']),
            wsHost: location.hostname,
            wsPort: @json((int) $gateway['port']),
            forceTLS: false,
            enabledTransports: ['ws'],
            csrfToken: @json(csrf_token()),
        });
        window.Echo.private('user.{{ $user->id }}')
            .listen('.order.placed', (order) => say(`Order ${order.id} is placed`))
            .listen('.order.paid', (order) => say(`Order ${order.id} is paid`));
        window.Echo.channel('sales').listen('.order.paid', () => say('New sale'));
        document.querySelector('#order').addEventListener('click', () => fetch('/orders', {
            method: 'POST',
            headers: {'X-CSRF-TOKEN': @json(csrf_token()), 'Accept': 'application/json'},
        }));
    </script>
@endif
</body>
</html>
