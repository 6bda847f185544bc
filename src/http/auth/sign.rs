//! The middleware that signs requests.

use std::sync::Arc;

use async_trait::async_trait;
use surf::middleware::{Middleware, Next};
use surf::{Client, Request, Response};

use super::credentials::Credentials;
use crate::http::failure::Failure;
use crate::http::redirect::drain;
use crate::http::transport::{Exchange, Head};

/// Signs requests that go to the client's own origin, and no others. Stands below the redirects, so that what it adds
/// to a URL shows nowhere.
pub(in crate::http) struct Sign(pub Arc<Credentials>);

#[async_trait]
impl Middleware for Sign {
    async fn handle(&self, mut request: Request, client: Client, next: Next<'_>) -> surf::Result<Response> {
        let exchange = request.ext::<Exchange>().filter(|exchange| !exchange.strayed);
        let exchange = exchange.filter(|_| self.0.belong_to(request.url())).cloned();
        let Some((token, exchange)) = exchange.and_then(|exchange| Some((exchange.token.clone()?, exchange))) else {
            return next.run(request, client).await;
        };
        let url = request.url().clone();
        self.0.sign(&mut request, &token).map_err(Failure::into_surf)?;
        let mut response = next.run(request, client.clone()).await?;
        let head = response.ext::<Head>().expect("every response comes from the transport, which sets it");
        if head.status != 401 || !self.0.scheme().takes_challenge(&head.headers) {
            return Ok(response);
        }
        drain(&mut response).await;
        let mut again = exchange.request_to(url);
        self.0.sign(&mut again, &token).map_err(Failure::into_surf)?;
        next.run(again, client).await
    }
}
